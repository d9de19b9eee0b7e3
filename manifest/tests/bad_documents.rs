//! What people are told about documents that are wrong.
//!
//! `bad_documents.txt` holds the cases: a line `##### NAME OF THE FILE`, the text, a line `-----`,
//! and every message. After a change of wording, `UPDATE_GOLDEN=1 cargo test` writes the messages
//! anew: read the difference.
#![allow(clippy::unwrap_used)] // in what tests share

use spanwire_manifest::{
    ERRORS_MAX, FILE_BYTES_MAX, ManifestError, read_bytes, read_files, read_str,
};
use std::fmt::Write;
use std::path::Path;

const CASE: &str = "##### ";
const EXPECTED: &str = "-----\n";

#[test]
fn every_mistake_is_named_with_its_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_documents.txt");
    let golden = std::fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    let mut cases = 0;
    for case in golden.split(CASE).skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once(EXPECTED).unwrap();
        let Err(errors) = read_str(name, text, "default") else {
            panic!("this was read without an error:\n{text}");
        };
        writeln!(actual, "{CASE}{name}\n{text}{EXPECTED}{errors}").unwrap();
        cases += 1;
    }
    assert!(cases >= 25);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let differing = actual.lines().zip(golden.lines()).find(|(actual, golden)| actual != golden);
    assert_eq!(differing, None, "is the new message (left) better? then write it anew");
    assert_eq!(actual.lines().count(), golden.lines().count());
}

fn errors_of(text: &str) -> String {
    read_str("x.yaml", text, "default").unwrap_err().to_string()
}

#[test]
fn aliases_cannot_grow_without_bound() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        writeln!(text, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 9].join(", ")).unwrap();
    }
    let errors = errors_of(&text);
    assert!(
        errors.ends_with(
            ": not valid YAML: aliases copy more than 100000 values: write the document without \
             them"
        ),
        "{errors}"
    );
}

#[test]
fn nesting_cannot_grow_without_bound() {
    for text in [
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{}x", "{a: ".repeat(100_000)),
        (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        "- ".repeat(100_000),
    ] {
        let errors = errors_of(&text);
        assert!(errors.starts_with("x.yaml:") && errors.contains("not valid YAML"), "{errors}");
    }
}

#[test]
fn what_is_no_text_is_named_with_its_place() {
    let cases: [(&[u8], &str); 3] = [
        (b"\xff\xfek\0i\0n\0d\0", "x:1:1: not UTF-8 text: is this a YAML or JSON file?"),
        (b"kind: Host\nm\xc3\xa4\xff", "x:2:3: not UTF-8 text: is this a YAML or JSON file?"),
        (b"\0", "x:1:1: not valid YAML: unexpected character: `\\u{0}'"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read_bytes("x", bytes, "default").unwrap_err().to_string(), expected);
    }
}

#[test]
fn errors_are_counted_beyond_the_most_that_are_kept() {
    let text = "kind: Pod\nmetadata: {name: x}\nspec: {}\n---\n".repeat(ERRORS_MAX + 5);
    let errors = read_str("x.yaml", &text, "default").unwrap_err();
    assert_eq!((errors.errors().len(), errors.omitted()), (ERRORS_MAX, 5));
    assert!(errors.to_string().ends_with("\n... and 5 more errors"));
}

#[test]
fn a_default_project_is_a_name() {
    let text = "kind: Group\nmetadata: {name: x}\nspec: {}\n";
    let errors = read_str("x.yaml", text, "a/b").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "default project \"a/b\" has '/' at byte 1: letters, digits and . _ - : @ are allowed, \
         and the first must be a letter, a digit or _"
    );
    assert_eq!(&*read_str("x", text, "shop").unwrap()[0].resource.metadata.project, "shop");
}

#[test]
fn files_and_directories_are_read_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let host = |name: &str| format!("kind: Host\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    std::fs::write(at("b.yml"), host("b")).unwrap();
    std::fs::write(at("a.yaml"), host("a")).unwrap();
    std::fs::write(at("c.json"), r#"{"kind":"Host","metadata":{"name":"c"},"spec":{}}"#).unwrap();
    std::fs::write(at(".hidden.yaml"), "no document").unwrap();
    std::fs::write(at("notes.txt"), "no document").unwrap();
    std::fs::create_dir(at("empty")).unwrap();

    let documents = read_files([directory.path()], "default").unwrap();
    let names: Vec<&str> = documents.iter().map(|d| &*d.resource.metadata.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(documents[1].origin.to_string(), format!("{}:1:1", at("b.yml").display()));

    std::fs::write(at("z.yaml"), host("a")).unwrap();
    let errors = read_files([directory.path(), &at("empty"), &at("missing")], "default");
    let errors: Vec<String> =
        errors.unwrap_err().errors().iter().map(ToString::to_string).collect();
    let expected = [
        format!("{}: holds no file that ends in .yaml, .yml or .json", at("empty").display()),
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            at("missing").display()
        ),
        format!(
            "{}:1:1: host a stands at {}:1:1 already: keep one of the two",
            at("z.yaml").display(),
            at("a.yaml").display()
        ),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_file_without_end_is_refused() {
    let errors = read_files(["/dev/zero"], "default").unwrap_err();
    assert!(matches!(errors.errors(), [ManifestError::TooLarge { max: FILE_BYTES_MAX, .. }]));
}
