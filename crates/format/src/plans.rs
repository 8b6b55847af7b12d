use std::sync::Arc;

use rowtide_core::Table;

/// More tables than a pipeline has at a time; a source that makes a table anew for each batch must
/// not make this grow for ever.
const PLANS_MAX: usize = 1024;

/// What a format has worked out about each table, found again by the table's address.
///
/// A plan keeps its table alive, so an address is never another table's.
pub(crate) struct Plans<P> {
    plans: Vec<(Arc<Table>, P)>,
    latest: usize,
    make: Box<dyn Fn(&Table) -> P + Send + Sync>,
}

impl<P> Plans<P> {
    pub(crate) fn new(make: impl Fn(&Table) -> P + Send + Sync + 'static) -> Self {
        Self { plans: Vec::new(), latest: 0, make: Box::new(make) }
    }

    pub(crate) fn of(&mut self, table: &Arc<Table>) -> &P {
        let is_latest = self.plans.get(self.latest).is_some_and(|(of, _)| Arc::ptr_eq(of, table));
        if !is_latest {
            self.latest = self.find_or_make(table);
        }
        &self.plans[self.latest].1
    }

    fn find_or_make(&mut self, table: &Arc<Table>) -> usize {
        if let Some(index) = self.plans.iter().position(|(of, _)| Arc::ptr_eq(of, table)) {
            return index;
        }
        if self.plans.len() == PLANS_MAX {
            self.plans.clear();
        }
        self.plans.push((Arc::clone(table), (self.make)(table)));
        self.plans.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_made_anew_has_its_own_plan_and_the_number_is_bounded() {
        let mut plans = Plans::new(|table: &Table| table.columns.len());
        let table = Arc::new(Table::new("t", vec![]));
        assert_eq!(plans.of(&table), &0);
        for _ in 0..2 * PLANS_MAX {
            let column = rowtide_core::Column::new("c", rowtide_core::ColumnType::Any);
            assert_eq!(plans.of(&Arc::new(Table::new("t", vec![column]))), &1);
            assert_eq!(plans.of(&table), &0);
        }
        assert!(plans.plans.len() <= PLANS_MAX);
    }
}
