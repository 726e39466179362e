//! Files of the repository that are generated: what is on file must be what would be written now.

use std::path::Path;

/// Holds a file, named from the root of the repository, to its text. With `LABCTL_UPDATE` in the environment it is written
/// anew instead.
pub(crate) fn assert_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("LABCTL_UPDATE").is_some() {
        std::fs::write(&path, text).expect("the file can be written");
    }
    let on_file = std::fs::read_to_string(&path).unwrap_or_default();
    // Line by line, so that what differs can be seen.
    let differs = on_file.lines().zip(text.lines()).find(|(was, is)| was != is);
    assert!(on_file == text, "{file} is out of date: {differs:?}; run `LABCTL_UPDATE=1 cargo test --lib`");
}
