//! Configuration changes, in the form with one step and in the form with several.

use crate::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2,
};
use std::borrow::Cow;

/// One step of a configuration change.
pub fn new_conf_change_single(node_id: u64, change_type: ConfChangeType) -> ConfChangeSingle {
    ConfChangeSingle { change_type: change_type as i32, node_id }
}

/// A configuration change in either form.
pub trait ConfChangeI {
    /// The change in the form with several steps.
    fn into_v2(self) -> ConfChangeV2;

    /// The change in the form with several steps, borrowed where it is one already.
    fn as_v2(&self) -> Cow<'_, ConfChangeV2>;

    /// The change in the form with one step, if it is in that form.
    fn as_v1(&self) -> Option<&ConfChange>;
}

impl ConfChangeI for ConfChange {
    fn into_v2(self) -> ConfChangeV2 {
        ConfChangeV2 {
            transition: ConfChangeTransition::Auto as i32,
            changes: vec![new_conf_change_single(self.node_id, self.get_change_type())],
            context: self.context,
        }
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Owned(self.clone().into_v2())
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        Some(self)
    }
}

impl ConfChangeI for ConfChangeV2 {
    fn into_v2(self) -> ConfChangeV2 {
        self
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Borrowed(self)
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        None
    }
}

impl ConfChangeV2 {
    /// Whether the change goes through a joint configuration, and if so, whether that is left by
    /// itself. More than one step always does: it is safe, and which sets of steps could do
    /// without depends on the members they are applied to.
    pub fn enter_joint(&self) -> Option<bool> {
        match self.get_transition() {
            ConfChangeTransition::Auto if self.changes.len() <= 1 => None,
            ConfChangeTransition::Auto | ConfChangeTransition::Implicit => Some(true),
            ConfChangeTransition::Explicit => Some(false),
        }
    }

    /// Whether the change leaves a joint configuration: it has no steps and asks for nothing.
    pub fn leave_joint(&self) -> bool {
        self.get_transition() == ConfChangeTransition::Auto && self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joint_configurations_are_entered_and_left_as_raft_has_it() {
        let step = |id| new_conf_change_single(id, ConfChangeType::AddNode);
        let change = |transition: ConfChangeTransition, steps: &[u64]| ConfChangeV2 {
            transition: transition as i32,
            changes: steps.iter().map(|id| step(*id)).collect(),
            ..ConfChangeV2::default()
        };
        let cases = [
            (change(ConfChangeTransition::Auto, &[]), None, true),
            (change(ConfChangeTransition::Auto, &[1]), None, false),
            (change(ConfChangeTransition::Auto, &[1, 2]), Some(true), false),
            (change(ConfChangeTransition::Implicit, &[1]), Some(true), false),
            (change(ConfChangeTransition::Explicit, &[1]), Some(false), false),
        ];
        for (change, enter, leave) in cases {
            assert_eq!(change.enter_joint(), enter, "{change:?}");
            assert_eq!(change.leave_joint(), leave, "{change:?}");
        }
    }

    #[test]
    fn the_form_with_one_step_becomes_the_form_with_several() {
        let one = ConfChange {
            change_type: ConfChangeType::RemoveNode as i32,
            node_id: 7,
            context: vec![1].into(),
            id: 3,
        };
        let several = one.as_v2().into_owned();
        assert_eq!(several.changes, [new_conf_change_single(7, ConfChangeType::RemoveNode)]);
        assert_eq!(several.context, one.context);
        assert!(several.as_v1().is_none());
    }
}
