//! The format `json`: one object a change, from which every value can be rebuilt exactly.
//!
//! ```json
//! {"id":"s:1","op":"insert","table":"t","key":{"id":1},"before":null,"after":{"id":1,"v":2.0},
//!  "committed_at":"2026-11-21T10:00:00Z","transaction":null}
//! ```
//!
//! (in one line). `op` is `insert`, `update`, `delete`, `read`, `truncate`, `snapshot_begin` or
//! `snapshot_end`; `namespace` comes before `table` and `metadata` after all if there are any. A
//! column that the upstream did not send is absent. A table whose key is a column that its user did
//! not declare has the key `{"$rowid":n}`.
//!
//! What the JSON value of a column's type cannot carry is an object of one member, whose name
//! begins with `$`:
//!
//! | value | in a column of its own type | elsewhere |
//! |---|---|---|
//! | boolean, integer, float | `true`, `1`, `1.0` | the same; in a JSON column `{"$bool":true}`, `{"$int":"1"}`, `{"$float":"1.0"}` |
//! | float that is not finite | `{"$float":"Infinity"}`, `"-Infinity"`, `"NaN"`, and `"NaN(0x7ff8000000000001)"` for the bits of any other NaN | the same |
//! | single-precision float | `1.5` | `{"$float32":"1.5"}`; a double in a single-precision column is `{"$float64":"1.5"}` |
//! | text | `"text"` | `"text"`, and `{"$text":"base64"}` in a column whose own values are strings (bytes, decimal, uuid, dates and times) and in a JSON column |
//! | text that is not UTF-8 | `{"$text":"base64"}` | the same |
//! | bytes | `"base64"` | `{"$blob":"base64"}` |
//! | decimal, uuid, date, time, date and time, timestamp | `"text"` | `{"$decimal":"text"}`, `$uuid`, `$date`, `$time`, `$datetime`, `$timestamp` |
//! | JSON document | itself | `{"$json":"document as text"}` |
//! | array | `[…]` | `{"$array":[…]}`, its elements as in a column without type |
//!
//! A JSON document can not be mistaken for such an object: one that is an object whose first name
//! begins with `$` (or with an escape) is written as `{"$json":"…"}`, and so is one that is `null`,
//! is not valid JSON, is not in one line, or has blanks around it.
//!
//! With `integers = "string"` an integer beyond 2^53 is a string, or `{"$int":"…"}` in a column
//! whose own values are strings; a text elsewhere that looks like such a string is
//! `{"$text":"base64"}`.

pub mod decoder;
pub(crate) mod encoder;
mod value;
