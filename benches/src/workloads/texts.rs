//! Texts, labels and selectors that many resources share.

use foldhash::fast::FixedState;
use spanwire_topology::model::{Labels, Selector, Text};
use std::collections::HashMap;
use std::sync::Arc;

/// Gives the same text out once, however often it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    texts: HashMap<Text, (), FixedState>,
    labels: HashMap<Labels, Arc<Labels>, FixedState>,
    selectors: HashMap<Text, Selector, FixedState>,
}

impl Texts {
    pub(crate) fn text(&mut self, text: &str) -> Text {
        if let Some((known, ())) = self.texts.get_key_value(text) {
            return known.clone();
        }
        let text: Text = text.into();
        self.texts.insert(text.clone(), ());
        text
    }

    pub(crate) fn labels(&mut self, pairs: &[(&str, &str)]) -> Arc<Labels> {
        let labels: Labels =
            pairs.iter().map(|(key, value)| (self.text(key), self.text(value))).collect();
        let shared = self.labels.entry(labels.clone()).or_insert_with(|| Arc::new(labels));
        shared.clone()
    }

    /// A selector from its text. The selectors of the workloads are constants, and a wrong one
    /// fails the tests of its workload.
    pub(crate) fn selector(&mut self, text: &str) -> Selector {
        if let Some(known) = self.selectors.get(text) {
            return known.clone();
        }
        let selector: Selector = match text.parse() {
            Ok(selector) => selector,
            Err(error) => unreachable!("the selector {text:?} of a workload: {error}"),
        };
        let text = self.text(text);
        self.selectors.insert(text, selector.clone());
        selector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_and_labels_are_one() {
        let mut texts = Texts::default();
        assert!(Arc::ptr_eq(&texts.text("app"), &texts.text("app")));
        let labels = texts.labels(&[("app", "a"), ("tier", "web")]);
        assert!(Arc::ptr_eq(&labels, &texts.labels(&[("tier", "web"), ("app", "a")])));
        assert!(Arc::ptr_eq(&texts.text("tier"), labels.get_key_value("tier").unwrap().0));
        assert_ne!(labels, texts.labels(&[("app", "a")]));
        assert_eq!(texts.selector("app=a"), "app=a".parse().unwrap());
    }
}
