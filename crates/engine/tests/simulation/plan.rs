use std::collections::BTreeMap;

/// Numbers that a seed decides (SplitMix64).
#[derive(Clone)]
pub struct Dice(pub u64);

/// What an upstream holds: a tree of partitions with splits and merges, made from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub partitions: BTreeMap<String, Planned>,
    /// Whether the leaves of the tree never end.
    pub endless: bool,
    pub bytes_max: u64,
    pub flush_after: u64,
    pub flush_every_ms: u64,
    pub save_every_ms: u64,
    /// Whether a rejected change stops the pipeline, until somebody has mended the downstream.
    pub stops_on_rejected: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Planned {
    pub parents: Vec<String>,
    pub children: Vec<String>,
    pub log: Vec<Entry>,
    pub ends: bool,
}

#[derive(Clone, Debug)]
pub enum Entry {
    Rows { rows: Vec<Row>, with_position: bool },
    PositionAlone,
    Children(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Row {
    /// Counted within the partition.
    pub number: usize,
    pub bytes: usize,
    pub is_poison: bool,
}

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// True once in `bound` times.
    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize].clone()
    }
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut plan = Self {
            partitions: BTreeMap::new(),
            endless: dice.one_in(2),
            bytes_max: dice.pick(&[1, 4_000, 1 << 20, 1 << 20]),
            flush_after: dice.pick(&[1, 3, 10_000]),
            flush_every_ms: dice.pick(&[5, 100, 1_000]),
            save_every_ms: dice.pick(&[0, 0, 50, 2_000]),
            stops_on_rejected: seed % 3 == 1,
        };
        let mut leaves: Vec<String> = (0..1 + dice.below(2)).map(|_| plan.add(vec![])).collect();
        for _ in 0..dice.below(6) {
            let parent = leaves.swap_remove(dice.below(leaves.len() as u64) as usize);
            if dice.one_in(2) && !leaves.is_empty() {
                let other = leaves.swap_remove(dice.below(leaves.len() as u64) as usize);
                leaves.push(plan.add(vec![parent, other]));
            } else {
                leaves.push(plan.add(vec![parent.clone()]));
                leaves.push(plan.add(vec![parent]));
            }
        }
        plan.fill(&mut dice);
        plan
    }

    fn add(&mut self, parents: Vec<String>) -> String {
        let id = format!("p{}", self.partitions.len());
        for parent in &parents {
            if let Some(parent) = self.partitions.get_mut(parent) {
                parent.children.push(id.clone());
            }
        }
        self.partitions.insert(id.clone(), Planned { parents, ..Planned::default() });
        id
    }

    fn fill(&mut self, dice: &mut Dice) {
        for planned in self.partitions.values_mut() {
            let mut number = 0;
            for _ in 0..dice.below(8) {
                planned.log.push(Entry::new(dice, &mut number));
            }
            planned.ends = !self.endless || !planned.children.is_empty();
            if !planned.children.is_empty() {
                let place = dice.below(planned.log.len() as u64 + 1) as usize;
                planned.log.insert(place, Entry::Children(planned.children.clone()));
            }
        }
    }

    pub fn roots(&self) -> impl Iterator<Item = &String> {
        self.partitions.iter().filter(|(_, planned)| planned.parents.is_empty()).map(|(id, _)| id)
    }
}

impl Entry {
    fn new(dice: &mut Dice, number: &mut usize) -> Self {
        if dice.one_in(6) {
            return Entry::PositionAlone;
        }
        let mut row = || {
            *number += 1;
            let bytes = dice.pick(&[0, 10, 800, 3_000]);
            Row { number: *number - 1, bytes, is_poison: dice.one_in(40) }
        };
        let rows = vec![row(), row(), row()];
        Entry::Rows { rows, with_position: !dice.one_in(4) }
    }
}

impl Entry {
    fn children(&self) -> &[String] {
        match self {
            Entry::Children(children) => children,
            _ => &[],
        }
    }
}

impl Planned {
    /// How many rows come before the entry at `index`.
    pub fn rows_before(&self, index: usize) -> usize {
        let rows = |entry: &Entry| match entry {
            Entry::Rows { rows, .. } => rows.len(),
            _ => 0,
        };
        self.log.iter().take(index).map(rows).sum()
    }

    /// Whether a position follows right after the rows that begin with row `number`.
    pub fn has_position(&self, number: usize) -> bool {
        let begins = |entry: &Entry| match entry {
            Entry::Rows { rows, with_position } => *with_position && rows[0].number == number,
            _ => false,
        };
        self.log.iter().any(begins)
    }

    /// The children announced before the entry at `index`.
    pub fn children_before(&self, index: usize) -> impl Iterator<Item = &String> {
        self.log.iter().take(index).flat_map(Entry::children)
    }
}
