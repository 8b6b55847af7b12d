use super::{
    ColumnDefinition, CreateTable, Definition, Literal, SqlError, parser::Parser, syntax_error,
};

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Result<Definition, SqlError> {
        if self.takes("view") {
            let name = self.name()?;
            self.skip_the_rest();
            return Ok(Definition::CreateView { name });
        }
        self.expect("table")?;
        let mut table = CreateTable::default();
        if self.takes("if") {
            self.expect("not")?;
            self.expect("exists")?;
            table.if_not_exists = true;
        }
        table.name = self.name()?;
        self.expect_symbol('(')?;
        loop {
            self.element(&mut table)?;
            if !self.takes_symbol(',') {
                break;
            }
        }
        self.expect_symbol(')')?;
        Ok(Definition::CreateTable(table))
    }

    /// A column, the primary key or a family.
    fn element(&mut self, table: &mut CreateTable) -> Result<(), SqlError> {
        if self.takes("primary") {
            self.expect("key")?;
            self.expect_symbol('(')?;
            table.key = self.list(Self::word)?;
        } else if self.takes("family") {
            let name = self.word()?;
            self.expect_symbol('(')?;
            table.families.push((name, self.list(Self::word)?));
        } else {
            let (column, is_key) = self.column()?;
            if is_key {
                table.key.push(column.name.clone());
            }
            table.columns.push(column);
        }
        Ok(())
    }

    fn column(&mut self) -> Result<(ColumnDefinition, bool), SqlError> {
        let (name, sql_type) = (self.word()?, self.sql_type()?);
        let (mut nullable, mut default, mut is_key) = (true, Literal::Null, false);
        loop {
            if self.takes("not") {
                self.expect("null")?;
                nullable = false;
            } else if self.takes("default") {
                default = self.literal()?;
            } else if self.takes("primary") {
                self.expect("key")?;
                (nullable, is_key) = (false, true);
            } else if !self.takes("null") {
                return Ok((ColumnDefinition { name, sql_type, nullable, default }, is_key));
            }
        }
    }

    /// A type, as the catalog writes it: `DECIMAL(10,2)`, `STRING[]`.
    pub(super) fn sql_type(&mut self) -> Result<String, SqlError> {
        let mut text = self.name()?.to_uppercase();
        if text == "DOUBLE" {
            self.takes("precision");
        }
        if self.takes_symbol('(') {
            let numbers = self.list(|parser| parser.number().ok_or_else(|| syntax_error("(")))?;
            text = format!("{text}({})", numbers.join(","));
        }
        if self.takes_symbol('[') {
            self.expect_symbol(']')?;
            text.push_str("[]");
        }
        let renamed = match text.as_str() {
            "INT" | "INTEGER" | "BIGINT" => "INT8",
            "TEXT" => "STRING",
            "FLOAT" | "DOUBLE" => "FLOAT8",
            "JSON" => "JSONB",
            other => other,
        };
        Ok(renamed.to_owned())
    }

    pub(super) fn drop(&mut self) -> Result<Definition, SqlError> {
        self.expect("table")?;
        Ok(Definition::DropTable { name: self.name()? })
    }

    pub(super) fn truncate(&mut self) -> Result<Definition, SqlError> {
        self.takes("table");
        Ok(Definition::Truncate { name: self.name()? })
    }

    pub(super) fn alter(&mut self) -> Result<Definition, SqlError> {
        self.expect("table")?;
        let table = self.name()?;
        match self.word()?.as_str() {
            "add" => {
                self.takes("column");
                let (column, _) = self.column()?;
                Ok(Definition::AddColumn { table, column })
            }
            "drop" => {
                self.takes("column");
                Ok(Definition::DropColumn { table, column: self.word()? })
            }
            "rename" => {
                self.takes("column");
                let from = self.word()?;
                self.expect("to")?;
                Ok(Definition::RenameColumn { table, from, to: self.word()? })
            }
            "configure" => {
                self.expect("zone")?;
                self.expect("using")?;
                let setting = self.name()?;
                self.expect_symbol('=')?;
                let Literal::Number(seconds) = self.literal()? else {
                    return Err(syntax_error(&setting));
                };
                let gc_ttl_seconds = seconds.parse().map_err(|_| syntax_error(&seconds))?;
                Ok(Definition::ConfigureZone { table, gc_ttl_seconds })
            }
            other => Err(syntax_error(other)),
        }
    }

    /// `SELECT ON TABLE t TO user`: the table.
    pub(super) fn privilege(&mut self) -> Result<String, SqlError> {
        self.word()?;
        self.expect("on")?;
        self.takes("table");
        let table = self.name()?;
        self.skip_the_rest();
        Ok(table)
    }
}
