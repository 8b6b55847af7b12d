//! What the real server does not take, this one does not take either.

use prost::bytes::Bytes;
use tonic::Code;

use super::{
    Client, Dialect, Faults, block_on,
    client::{Query, READ},
    items, put, server,
};
use crate::{
    Datum, LostWording, Options, Server,
    messages::{
        BeginTransactionRequest, Mode, ReadOnly, ResultSetMetadata, Selector, TimestampBound,
        Transaction, TransactionOptions, TransactionSelector, Unread,
    },
};

fn selector(selector: Selector) -> Option<TransactionSelector> {
    Some(TransactionSelector { selector: Some(selector) })
}

fn single_use(mode: Mode) -> Option<TransactionSelector> {
    selector(Selector::SingleUse(TransactionOptions { mode: Some(mode) }))
}

fn read_only(bound: TimestampBound) -> Option<TransactionSelector> {
    single_use(Mode::ReadOnly(ReadOnly { return_read_timestamp: false, bound: Some(bound) }))
}

#[test]
fn only_a_strong_single_use_read_is_taken() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        let query = Query::of(None, server.now(), None);
        let at = prost_types::Timestamp { seconds: 1, nanos: 0 };
        let refused = [
            single_use(Mode::ReadWrite(Unread {})),
            read_only(TimestampBound::ReadTimestamp(at)),
            read_only(TimestampBound::ExactStaleness(prost_types::Duration::default())),
            selector(Selector::Id(Bytes::from_static(b"x"))),
            selector(Selector::Begin(TransactionOptions::default())),
        ];
        for transaction in refused {
            let query = Query { transaction, ..query.clone() };
            let status = client.rows(query).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains("strong reads executed via single use"), "{status}");
        }
        let transaction = read_only(TimestampBound::Strong(true));
        client.rows(Query { transaction, ..query.clone() }).await.unwrap();
        client.rows(query.clone()).await.unwrap();
        let request = client.request(query);
        let answer: Result<ResultSetMetadata, _> = client.call("ExecuteSql", request).await;
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    });
}

/// Asks with one argument replaced, and returns what the server says.
async fn refusal(client: &mut Client, query: &Query, place: usize, value: Datum) -> (Code, String) {
    let mut query = query.clone();
    query.parameters[place] = value;
    let status = client.rows(query).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[test]
fn arguments_are_checked() {
    block_on(async {
        let server =
            Server::start(Options { tables: vec![items()], ..Options::default() }).unwrap();
        let mut client = Client::connect(&server).await;
        let now = server.now();
        let query = Query::of(None, now, None);
        let token = server.live().remove(0);
        let later =
            |minutes| Datum::text((now + jiff::SignedDuration::from_mins(minutes)).to_string());
        let cases = [
            (0, Datum::Null, Code::InvalidArgument, "start_timestamp must not be null"),
            (0, later(-60), Code::OutOfRange, "too far in the past"),
            (0, later(11), Code::OutOfRange, "too far in the future"),
            (1, later(-1), Code::InvalidArgument, "start_timestamp must be <= end_timestamp"),
            (2, Datum::text("x"), Code::InvalidArgument, "Specified partition_token is invalid"),
            (3, Datum::Null, Code::InvalidArgument, "heartbeat_milliseconds must not be null"),
            (3, Datum::int(999), Code::OutOfRange, "heartbeat_milliseconds must be within"),
            (3, Datum::int(300_001), Code::OutOfRange, "heartbeat_milliseconds must be within"),
        ];
        for (place, value, code, words) in cases {
            let found = refusal(&mut client, &query, place, value).await;
            assert!(found.0 == code && found.1.contains(words), "{words}: {found:?}");
        }
        server.reshape(std::slice::from_ref(&token), 2).unwrap();
        let ended = Query::of(Some(&token), server.now(), None);
        let status = client.rows(ended).await.unwrap_err();
        assert!(status.message().contains("invalid for the partition"), "{status}");
        assert_eq!(status.code(), Code::OutOfRange);
    });
}

#[test]
fn a_statement_is_nothing_but_the_call() {
    block_on(async {
        for (dialect, sql, code) in [
            (Dialect::GoogleSql, format!("{READ} WHERE TRUE"), Code::Unimplemented),
            (Dialect::GoogleSql, READ.replace("ChangeRecord", "1"), Code::Unimplemented),
            (Dialect::GoogleSql, READ.replace("changes", "others"), Code::NotFound),
            (
                Dialect::GoogleSql,
                READ.replace("@p4)", "@p4, read_options => 1)"),
                Code::Unimplemented,
            ),
            (Dialect::Postgres, READ.to_owned(), Code::Unimplemented),
        ] {
            let server = server(dialect, Faults::none());
            let mut client = Client::connect(&server).await;
            let query = Query { sql, ..Query::of(None, server.now(), None) };
            let status = client.rows(query).await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
        }
    });
}

#[test]
fn what_is_older_than_the_retention_is_lost_in_any_words() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        let (start, token) = (server.now(), server.live().remove(0));
        server.commit(vec![put(1, "x")]).unwrap();
        server.forget(server.now());
        for (wording, code) in [
            (LostWording::TooFarInThePast, Code::OutOfRange),
            (LostWording::PartitionExpired, Code::OutOfRange),
            (LostWording::TokenInvalid, Code::InvalidArgument),
        ] {
            server.set_wording(wording);
            let query = Query::of(Some(&token), start, None);
            assert_eq!(client.rows(query).await.unwrap_err().code(), code);
        }
    });
}

#[test]
fn sessions_and_streams_that_are_gone_are_not_found() {
    block_on(async {
        let server = server(Dialect::GoogleSql, Faults::none());
        let mut client = Client::connect(&server).await;
        server.forget_sessions();
        let query = Query::of(None, server.now(), None);
        let status = client.rows(query.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains("Session not found"));
        let request = BeginTransactionRequest { session: client.session, options: None };
        let mut client = Client::connect(&server).await;
        let answer: Result<Transaction, _> = client.call("BeginTransaction", request).await;
        assert_eq!(answer.unwrap_err().code(), Code::NotFound);
        server.drop_stream();
        let status = client.rows(query).await.unwrap_err();
        assert!(status.message().contains("Change stream not found"));
    });
}
