//! Walks of real requests, one a method, in fixtures/walks. `labctl trace client vip:80 --method METHOD --format json` records
//! one; the page docs/methods.md is written from them by `LABCTL_UPDATE=1 cargo test --lib`.

use super::*;

/// The committed schema is the one that programs read; `LABCTL_UPDATE=1 cargo test schema` writes it anew.
#[test]
fn the_schema_on_file_is_that_of_a_walk() {
    crate::generated::assert_current("reports/walk.schema.json", &schema());
}
