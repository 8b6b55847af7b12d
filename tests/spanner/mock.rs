//! What is asked, as Google's own mock server takes it.

use std::fs;

use serde_json::{Value, json};

use crate::{Outcome, pipeline::Pipeline, python::Mock};

const START: &str = "2026-11-21T10:00:00Z";
const END: &str = "2026-11-21T10:00:05Z";

const READ: &str = "SELECT ChangeRecord FROM READ_changes (start_timestamp => @p1, end_timestamp \
                    => @p2, partition_token => @p3, heartbeat_milliseconds => @p4)";

pub(crate) fn takes_the_requests() -> Outcome<()> {
    let mock = Mock::start(&[START, END])?;
    let folder = tempfile::tempdir()?.keep();
    let settings = format!(
        "[source]\ntype = 'spanner'\nchange_stream = 'changes'\nstart = '{START}'\nend = '{END}'\n\
         database = 'projects/p/instances/i/databases/d'\npriority = 'low'\n\
         request_tag = 'tide'\nrole = 'reader'\nheartbeat_every = '2s'\n\
         [checkpoint]\ntype = 'file'\npath = 'mocked.checkpoint'\n"
    );
    let pipeline = Pipeline::new(&folder, "mocked", mock.host(), &settings)?;
    pipeline.end(&[])?;
    let lines = pipeline.lines()?;
    if lines.len() != 1 {
        return Err(format!("one change, and not {lines:?}").into());
    }
    let requests = mock.stop()?;
    let of_kind = |kind: &str| -> Vec<&Value> {
        requests.iter().filter(|(of, _)| of == kind).map(|(_, request)| request).collect()
    };
    let session = json!({ "creatorRole": "reader", "multiplexed": true });
    for request in of_kind("CreateSessionRequest") {
        must_have(&request["session"], &session)?;
    }
    let single = json!({ "singleUse": { "readOnly": { "strong": true } } });
    let options = json!({ "priority": "PRIORITY_LOW", "requestTag": "tide" });
    let queries = of_kind("ExecuteSqlRequest");
    for request in &queries {
        must_have(&request["transaction"], &single)?;
        must_have(&request["requestOptions"], &options)?;
        must_have(request, &json!({ "queryMode": "NORMAL", "dataBoostEnabled": false }))?;
    }
    let reads: Vec<_> = queries.iter().filter(|request| request["sql"] == READ).collect();
    let tokens: Vec<_> = reads.iter().map(|request| request["params"]["p3"].clone()).collect();
    if tokens != [Value::Null, Value::Null, json!("the-token")] {
        return Err(format!("the roots twice, and then the one partition; not {tokens:?}").into());
    }
    for request in reads {
        // The end is proved from behind, by a heartbeat that does not keep it waiting.
        must_have(&request["params"], &json!({ "p1": START, "p2": null, "p4": "1000" }))?;
        for (name, code) in [("p1", "TIMESTAMP"), ("p2", "TIMESTAMP"), ("p3", "STRING")] {
            must_have(&request["paramTypes"][name], &json!({ "code": code }))?;
        }
        must_have(&request["paramTypes"]["p4"], &json!({ "code": "INT64" }))?;
    }
    Ok(fs::remove_dir_all(&folder)?)
}

/// That each member of `expected` is in `found`, whatever else is there.
fn must_have(found: &Value, expected: &Value) -> Outcome<()> {
    match expected {
        Value::Object(members) => {
            members.iter().try_for_each(|(name, value)| must_have(&found[name], value))
        }
        _ if found == expected => Ok(()),
        _ => Err(format!("{found} instead of {expected}").into()),
    }
}
