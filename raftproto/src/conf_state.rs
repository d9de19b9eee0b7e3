//! Comparing and building descriptions of a group's members.

use crate::eraftpb::ConfState;
use std::collections::BTreeSet;

/// True if both describe the same configuration: the order of members does not matter.
#[must_use]
pub fn conf_state_eq(one: &ConfState, other: &ConfState) -> bool {
    let same = |a: &[u64], b: &[u64]| {
        a == b || a.iter().collect::<BTreeSet<_>>() == b.iter().collect::<BTreeSet<_>>()
    };
    same(&one.voters, &other.voters)
        && same(&one.learners, &other.learners)
        && same(&one.voters_outgoing, &other.voters_outgoing)
        && same(&one.learners_next, &other.learners_next)
        && one.auto_leave == other.auto_leave
}

impl<Voters, Learners> From<(Voters, Learners)> for ConfState
where
    Voters: IntoIterator<Item = u64>,
    Learners: IntoIterator<Item = u64>,
{
    fn from((voters, learners): (Voters, Learners)) -> ConfState {
        ConfState {
            voters: voters.into_iter().collect(),
            learners: learners.into_iter().collect(),
            ..ConfState::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_members_does_not_matter() {
        let one = ConfState::from(([1, 2, 3], [4, 5]));
        let same = ConfState::from(([3, 1, 2], [5, 4]));
        assert!(conf_state_eq(&one, &same));
        let fewer = ConfState::from(([3, 1], [5, 4]));
        assert!(!conf_state_eq(&one, &fewer));
        let joint = ConfState { auto_leave: true, ..one.clone() };
        assert!(!conf_state_eq(&one, &joint));
    }
}
