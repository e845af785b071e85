//! The syntax of Java's `.properties` files, as `java.util.Properties` reads it. It knows no key.

/// One setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    /// From 1; where the key stands. 0 for one from the command line.
    pub line: u32,
}

/// A `\u` that is not followed by four hexadecimal digits of a character. The only thing that can
/// be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape {
    pub line: u32,
}

/// Blank lines, and lines that begin with `#` or `!`, are nothing. A line that ends in an odd
/// number of backslashes goes on in the next, whose leading blanks do not count. A key ends at the
/// first `=`, `:` or blank.
///
/// # Errors
/// At the first bad escape.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, BadEscape> {
    let mut properties = vec![];
    let mut lines = text
        .split('\n')
        .flat_map(|it| it.strip_suffix('\r').unwrap_or(it).split('\r'))
        .zip(1_u32..);
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while goes_on(&logical) {
            logical.pop();
            let Some((next, _)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        let unescaped = |it| unescape(it).ok_or(BadEscape { line });
        properties.push(Property { key: unescaped(key)?, value: unescaped(value)?, line });
    }
    Ok(properties)
}

const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\x0c')
}

fn goes_on(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|&byte| byte == b'\\').count();
    !backslashes.is_multiple_of(2)
}

fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|it: char| {
        let is_end = !is_escaped && (is_blank(it) || matches!(it, '=' | ':'));
        is_escaped = it == '\\' && !is_escaped;
        is_end
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match rest.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\x0c'),
            Some('u') => {
                let digits = rest.as_str().get(..4)?;
                let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
                out.push(char::from_u32(code)?);
                rest = rest.as_str().get(4..)?.chars();
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{BadEscape, parse_properties};

    #[track_caller]
    fn check(text: &str, want: &[(&str, &str, u32)]) {
        let found = parse_properties(text).expect("parses");
        let found: Vec<_> =
            found.iter().map(|it| (it.key.as_str(), it.value.as_str(), it.line)).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn keys_end_at_the_first_separator() {
        check(
            "a=1\nb:2\nc 3\nd = 4\ne : 5 \n",
            &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 4), ("e", "5 ", 5)],
        );
        check(
            "a==b\nc= =d\nempty\nempty2=",
            &[("a", "=b", 1), ("c", "=d", 2), ("empty", "", 3), ("empty2", "", 4)],
        );
        check(r"a\=b\:c\ d=e", &[("a=b:c d", "e", 1)]);
    }

    #[test]
    fn comments_and_blank_lines_are_nothing() {
        check("# a=1\n  ! b=2\n\n \t\nc=3 # no comment", &[("c", "3 # no comment", 5)]);
        check("", &[]);
        check("a=1\r\nb=2\rc=3", &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3)]);
    }

    #[test]
    fn lines_continue_after_an_odd_backslash() {
        check("a=1,\\\n   2,\\\n\t3\nb=4", &[("a", "1,2,3", 1), ("b", "4", 4)]);
        check("a=1\\\\\nb=2", &[("a", "1\\", 1), ("b", "2", 2)]);
        check("a=1\\", &[("a", "1", 1)]);
        check("# comment \\\na=1", &[("a", "1", 2)]);
        check("a=1\\\n# part", &[("a", "1# part", 1)]);
    }

    #[test]
    fn escapes_stand_for_characters() {
        check(r"a=\t\n\r\f\q\\", &[("a", "\t\n\r\x0cq\\", 1)]);
        check("a=\\u00e4\\u0041", &[("a", "\u{e4}A", 1)]);
        assert_eq!(parse_properties("b=1\na=\\u00"), Err(BadEscape { line: 2 }));
        assert_eq!(parse_properties("a=\\u+041"), Err(BadEscape { line: 1 }));
        assert_eq!(parse_properties("a=\\ud800"), Err(BadEscape { line: 1 }));
    }

    proptest! {
        #[test]
        fn any_text_is_properties_or_a_bad_escape(text in any::<String>()) {
            if let Err(BadEscape { line }) = parse_properties(&text) {
                assert!(0 < line);
            }
        }
    }
}
