//! Shapes that many kinds share: a string, an array of anything, an integer.

use super::{Sink, describe};
use crate::unit::problem::Code;
use crate::unit::value::Bad;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// A string, read by `parse`.
pub(super) fn parsed<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, Bad>,
) -> Option<T> {
    let Some(text) = value.get_ref().as_str() else {
        sink.wrong_type(value, key, expected, None);
        return None;
    };
    parse(text).map_err(|bad| sink.bad(bad, value.span(), key)).ok()
}

/// An array, each element read by `element`. All bad elements are reported.
pub(super) fn each<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
    mut element: impl FnMut(&mut Sink<'_>, &str, &Spanned<DeValue<'_>>) -> Option<T>,
) -> Option<Vec<T>> {
    let DeValue::Array(array) = value.get_ref() else {
        let help = value.get_ref().as_str().map(|s| format!("write [{s:?}]"));
        sink.wrong_type(value, key, "an array", help);
        return None;
    };
    let mut all = Some(Vec::with_capacity(array.len()));
    for item in array.iter() {
        match element(sink, key, item) {
            Some(element) => {
                items.push(item.span());
                if let Some(all) = all.as_mut() {
                    all.push(element);
                }
            }
            None => all = None,
        }
    }
    all
}

/// An array of strings.
pub(super) fn list<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
    parse: impl Fn(&str, &str) -> Result<T, Bad>,
) -> Option<Vec<T>> {
    each(sink, key, value, items, |sink, key, item| {
        let Some(text) = item.get_ref().as_str() else {
            let found = describe(item.get_ref());
            let message = format!("`{key}` takes an array of strings; this element is {found}");
            sink.add(Code::WrongType, item.span(), key, message, None);
            return None;
        };
        parse(key, text).map_err(|bad| sink.bad(bad, item.span(), key)).ok()
    })
}

/// The integer, or `None` (and a problem) if it does not fit 64 bits.
pub(super) fn int_of(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

/// What a parser of text made of a value that was no text.
pub(super) fn checked<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    result: Result<T, Bad>,
) -> Option<T> {
    result.map_err(|bad| sink.bad(bad, value.span(), key)).ok()
}
