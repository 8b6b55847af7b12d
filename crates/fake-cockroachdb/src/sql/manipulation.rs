use super::{Clash, Equality, SqlError, Write, parser::Parser};

impl Parser<'_> {
    pub(super) fn insert(&mut self, clash: Clash) -> Result<Write, SqlError> {
        self.expect("into")?;
        let table = self.name()?;
        let columns = match self.takes_symbol('(') {
            true => self.list(Self::word)?,
            false => Vec::new(),
        };
        self.expect("values")?;
        let mut rows = Vec::new();
        loop {
            self.expect_symbol('(')?;
            rows.push(self.list(Self::literal)?);
            if !self.takes_symbol(',') {
                return Ok(Write::Insert { table, columns, rows, clash });
            }
        }
    }

    pub(super) fn update(&mut self) -> Result<Write, SqlError> {
        let table = self.name()?;
        self.expect("set")?;
        let mut assignments = vec![self.equality()?];
        while self.takes_symbol(',') {
            assignments.push(self.equality()?);
        }
        Ok(Write::Update { table, assignments, filter: self.filter()? })
    }

    pub(super) fn delete(&mut self) -> Result<Write, SqlError> {
        self.expect("from")?;
        Ok(Write::Delete { table: self.name()?, filter: self.filter()? })
    }

    pub(super) fn filter(&mut self) -> Result<Vec<Equality>, SqlError> {
        let mut filter = Vec::new();
        if self.takes("where") {
            filter.push(self.equality()?);
            while self.takes("and") {
                filter.push(self.equality()?);
            }
        }
        Ok(filter)
    }

    pub(super) fn equality(&mut self) -> Result<Equality, SqlError> {
        let column = self.word()?;
        self.expect_symbol('=')?;
        Ok((column, self.literal()?))
    }
}
