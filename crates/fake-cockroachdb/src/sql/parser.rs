use super::{
    Changefeed, Clash, Definition, Literal, Select, SqlError, Statement,
    lexer::{Token, tokens},
    syntax_error,
};

/// Reads statements that are separated by semicolons.
pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>, SqlError> {
    let tokens = tokens(sql)?;
    let pieces = tokens.split(|token| *token == Token::Symbol(';'));
    let filled = pieces.filter(|piece| !piece.is_empty());
    filled.map(|piece| Parser { tokens: piece, next: 0 }.statement()).collect()
}

/// Reads one statement from its tokens.
pub(super) struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
}

impl Parser<'_> {
    fn statement(&mut self) -> Result<Statement, SqlError> {
        let statement = match self.word()?.as_str() {
            "begin" | "start" => return self.skipping(Statement::Begin),
            "commit" | "end" => return self.skipping(Statement::Commit),
            "rollback" | "abort" => return self.skipping(Statement::Rollback),
            "insert" => Statement::Write(self.insert(Clash::Refuse)?),
            "upsert" => Statement::Write(self.insert(Clash::Replace)?),
            "update" => Statement::Write(self.update()?),
            "delete" => Statement::Write(self.delete()?),
            "drop" => Statement::Define(self.drop()?),
            "truncate" => Statement::Define(self.truncate()?),
            "alter" => Statement::Define(self.alter()?),
            "grant" => Statement::Define(Definition::Grant { table: self.privilege()? }),
            "revoke" => Statement::Define(Definition::Revoke { table: self.privilege()? }),
            "create" if self.takes("changefeed") => self.changefeed()?,
            "create" => Statement::Define(self.create()?),
            "experimental" => {
                self.expect("changefeed")?;
                self.changefeed()?
            }
            "select" => self.select()?,
            "show" => self.show()?,
            "set" => self.set()?,
            "discard" | "reset" | "deallocate" => return self.skipping(Statement::Set),
            other => return Err(syntax_error(other)),
        };
        if let Some(token) = self.tokens.get(self.next) {
            return Err(syntax_error(&format!("{token:?}")));
        }
        Ok(statement)
    }

    pub(super) fn skip_the_rest(&mut self) {
        self.next = self.tokens.len();
    }

    fn skipping(&mut self, statement: Statement) -> Result<Statement, SqlError> {
        self.skip_the_rest();
        Ok(statement)
    }

    fn show(&mut self) -> Result<Statement, SqlError> {
        match self.word()?.as_str() {
            "columns" => {
                self.expect("from")?;
                Ok(Statement::ShowColumns(self.name()?))
            }
            "create" => {
                self.takes("table");
                Ok(Statement::ShowCreate(self.name()?))
            }
            "tables" => self.skipping(Statement::ShowTables),
            "zone" => {
                for word in ["configuration", "from", "table"] {
                    self.expect(word)?;
                }
                Ok(Statement::ShowZone(self.name()?))
            }
            "cluster" => {
                self.expect("setting")?;
                Ok(Statement::ShowClusterSetting(self.name()?))
            }
            name => self.skipping(Statement::Show(name.to_owned())),
        }
    }

    fn set(&mut self) -> Result<Statement, SqlError> {
        if !self.takes("cluster") {
            return self.skipping(Statement::Set);
        }
        self.expect("setting")?;
        let name = self.name()?;
        if !self.takes("to") {
            self.expect_symbol('=')?;
        }
        Ok(Statement::SetClusterSetting(name, self.literal()?))
    }

    fn select(&mut self) -> Result<Statement, SqlError> {
        if let Some(number) = self.number() {
            let arguments = vec![Literal::Number(number)];
            return Ok(Statement::Call { function: "literal".to_owned(), arguments });
        }
        let start = self.next;
        if !self.takes_symbol('*') {
            let function = self.name()?;
            if self.takes_symbol('(') && function != "count" {
                let arguments = self.list(Self::literal)?;
                return Ok(Statement::Call { function, arguments });
            }
        }
        self.next = start;
        Ok(Statement::Select(self.select_from()?))
    }

    fn select_from(&mut self) -> Result<Select, SqlError> {
        let mut columns = Vec::new();
        let mut counts = false;
        if self.takes("count") {
            for symbol in ['(', '*', ')'] {
                self.expect_symbol(symbol)?;
            }
            counts = true;
        } else if !self.takes_symbol('*') {
            columns.push(self.word()?);
            while self.takes_symbol(',') {
                columns.push(self.word()?);
            }
        }
        self.expect("from")?;
        let table = self.name()?;
        let as_of = if self.takes("as") {
            for word in ["of", "system", "time"] {
                self.expect(word)?;
            }
            Some(self.text()?)
        } else {
            None
        };
        let filter = self.filter()?;
        if self.takes("order") {
            self.expect("by")?;
            self.word()?;
        }
        Ok(Select { columns, counts, table, as_of, filter })
    }

    fn changefeed(&mut self) -> Result<Statement, SqlError> {
        let mut tables = Vec::new();
        if self.takes("for") {
            self.takes("table");
            tables.push(self.name()?);
            while self.takes_symbol(',') {
                self.takes("table");
                tables.push(self.name()?);
            }
        }
        let options = if self.takes("with") { self.options()? } else { Vec::new() };
        let query = if tables.is_empty() {
            self.expect("as")?;
            self.expect("select")?;
            Some(self.select_from()?)
        } else {
            None
        };
        Ok(Statement::Changefeed(Changefeed { tables, query, options }))
    }

    fn options(&mut self) -> Result<Vec<(String, Option<String>)>, SqlError> {
        let mut options = Vec::new();
        loop {
            let name = self.word()?;
            let value = if self.takes_symbol('=') { Some(self.option_value()?) } else { None };
            options.push((name, value));
            if !self.takes_symbol(',') {
                return Ok(options);
            }
        }
    }

    fn option_value(&mut self) -> Result<String, SqlError> {
        match self.advance()? {
            Token::Word(text) | Token::Text(text) | Token::Number(text) => Ok(text),
            Token::Symbol(symbol) => Err(syntax_error(&symbol.to_string())),
        }
    }

    pub(super) fn literal(&mut self) -> Result<Literal, SqlError> {
        let literal = match self.advance()? {
            Token::Text(text) => Literal::Text(text),
            Token::Number(text) => Literal::Number(text),
            Token::Symbol('-') => Literal::Number(format!("-{}", self.some_number()?)),
            Token::Word(word) if word == "null" => Literal::Null,
            Token::Word(word) if word == "true" => Literal::Bool(true),
            Token::Word(word) if word == "false" => Literal::Bool(false),
            Token::Word(word) if word == "array" => {
                self.expect_symbol('[')?;
                Literal::Array(self.array()?)
            }
            token => return Err(syntax_error(&format!("{token:?}"))),
        };
        if self.takes_symbol(':') {
            // A cast says nothing that the column does not.
            self.expect_symbol(':')?;
            self.sql_type()?;
        }
        Ok(literal)
    }

    fn array(&mut self) -> Result<Vec<Literal>, SqlError> {
        let mut items = Vec::new();
        if self.takes_symbol(']') {
            return Ok(items);
        }
        loop {
            items.push(self.literal()?);
            if !self.takes_symbol(',') {
                self.expect_symbol(']')?;
                return Ok(items);
            }
        }
    }

    /// Items up to the closing parenthesis.
    pub(super) fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut items = Vec::new();
        if self.takes_symbol(')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.takes_symbol(',') {
                self.expect_symbol(')')?;
                return Ok(items);
            }
        }
    }

    /// A name with dots in it.
    pub(super) fn name(&mut self) -> Result<String, SqlError> {
        let mut name = self.word()?;
        while self.takes_symbol('.') {
            name = format!("{name}.{}", self.word()?);
        }
        Ok(name)
    }

    pub(super) fn word(&mut self) -> Result<String, SqlError> {
        match self.advance()? {
            Token::Word(word) => Ok(word),
            Token::Text(text) | Token::Number(text) => Err(syntax_error(&text)),
            Token::Symbol(symbol) => Err(syntax_error(&symbol.to_string())),
        }
    }

    fn text(&mut self) -> Result<String, SqlError> {
        match self.advance()? {
            Token::Text(text) => Ok(text),
            token => Err(syntax_error(&format!("{token:?}"))),
        }
    }

    pub(super) fn number(&mut self) -> Option<String> {
        let Some(Token::Number(text)) = self.tokens.get(self.next) else { return None };
        self.next += 1;
        Some(text.clone())
    }

    fn some_number(&mut self) -> Result<String, SqlError> {
        self.number().ok_or_else(|| syntax_error("-"))
    }

    fn advance(&mut self) -> Result<Token, SqlError> {
        let token = self.tokens.get(self.next).cloned().ok_or_else(|| syntax_error("EOF"));
        self.next += 1;
        token
    }

    /// Goes past a keyword, if it comes next.
    pub(super) fn takes(&mut self, keyword: &str) -> bool {
        let takes =
            matches!(self.tokens.get(self.next), Some(Token::Word(word)) if word == keyword);
        self.next += usize::from(takes);
        takes
    }

    pub(super) fn takes_symbol(&mut self, symbol: char) -> bool {
        let takes = self.tokens.get(self.next) == Some(&Token::Symbol(symbol));
        self.next += usize::from(takes);
        takes
    }

    pub(super) fn expect(&mut self, keyword: &str) -> Result<(), SqlError> {
        if self.takes(keyword) { Ok(()) } else { Err(syntax_error(keyword)) }
    }

    pub(super) fn expect_symbol(&mut self, symbol: char) -> Result<(), SqlError> {
        if self.takes_symbol(symbol) { Ok(()) } else { Err(syntax_error(&symbol.to_string())) }
    }
}
