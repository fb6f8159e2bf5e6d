use std::path::Path;

use super::*;

fn line(password: &str, count: usize) -> String {
    format!("{}:{count}", String::from_utf8(hash(password.as_bytes()).unwrap().to_vec()).unwrap())
}

fn sorted(passwords: impl Iterator<Item = String>, end: &str) -> String {
    let mut lines: Vec<String> =
        passwords.zip([1, 73, 5_120_044].into_iter().cycle()).map(|(password, count)| line(&password, count)).collect();
    lines.sort_unstable();
    // Each line ends, the last one too.
    lines.push(String::new());
    lines.join(end)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, content: &str) -> BreachedFile {
        std::fs::write(self.0.path().join("breached"), content).unwrap();
        BreachedFile::at(self.0.path().join("breached"))
    }

    fn wrong(&self, content: &str) -> String {
        self.file(content).check().unwrap_err().to_string()
    }
}

#[test]
fn a_hash_is_that_of_the_public_list() {
    assert_eq!(line("password", 3), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3");
}

#[test]
fn each_line_is_found_and_nothing_else() {
    let folder = Folder::new();
    for count in [1, 2, 3, 10, 1_000] {
        for end in ["\n", "\r\n"] {
            let all = sorted((0..count).map(|number| format!("listed {number}")), end);
            // The last line may lack its end.
            for content in [all.as_str(), all.trim_end()] {
                let file = folder.file(content);
                file.check().unwrap();
                for number in 0..count {
                    assert!(file.contains(format!("listed {number}").as_bytes()).unwrap(), "{number} of {count}");
                    assert!(!file.contains(format!("other {number}").as_bytes()).unwrap());
                }
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let folder = Folder::new();
    assert_eq!(folder.wrong(""), "it has no lines");
    assert_eq!(folder.wrong("password\n"), NOT_A_LINE);
    assert_eq!(folder.wrong(&line("a", 1).to_lowercase()), NOT_A_LINE);
    assert_eq!(folder.wrong(&line("a", 1).replace(':', ";")), NOT_A_LINE);
    assert_eq!(folder.wrong(&format!("{}{}\n", line("a", 1), "0".repeat(200))), "a line is too long");
    let all = sorted((0..500).map(|number| number.to_string()), "\n");
    let backwards: Vec<&str> = all.lines().rev().collect();
    assert_eq!(folder.wrong(&backwards.join("\n")), "its lines are not in the order of their hashes");
    assert_eq!(BreachedFile::at(folder.0.path().to_owned()).check().unwrap_err().to_string(), "not a regular file");
    let missing = BreachedFile::at(Path::new("/nowhere/at/all").to_owned());
    assert_eq!(missing.check().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(missing.contains(b"password").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_no_list_ends_the_search_with_an_error() {
    let folder = Folder::new();
    assert!(folder.file(&"\0".repeat(10_000)).contains(b"password").is_err());
    assert!(folder.file(&"\n".repeat(10_000)).contains(b"password").is_err());
}
