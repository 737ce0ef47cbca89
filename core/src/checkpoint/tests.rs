#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::document::Effect;
use crate::document::tests::Story;
use crate::event::tests::put;

const GOLDEN: &str = "\
    01023f796163ebf94718de1cd7582655c012f995c06f1e6970ea2bdc15bcd88a324a0101010101010101010101010101\
    0101016d28e505e50adb3e7ca42df05265ce5caf025157898c206fb499fdef9d5ae83a01010101010101010101010101\
    010101020306494e432d3432056f7468657204736974650339a68b4a6b4812af860adf74a750a5973258f6d31883cdc2\
    3696a08c5bac43c000010280d095ffbc310100a1fc4c887d9a1f63c3bfb570c6d4a9dacb731d9b311f796c5113562955\
    e54b4701020280d095ffbc310200de087cdf1f0d0fe6805a3c768d2b638c5010e294e0ac19d757cebffe1cec6f450101\
    0180d095ffbc310200020202072f737065632f61020101320001330a2f7374617475732f6f6b01020474727565\
";

#[test]
fn the_encoding_is_the_same_for_ever() {
    let checkpoint = Checkpoint::of(&conflicted().rebuild()).unwrap();
    let bytes = checkpoint.encode().unwrap();
    assert_eq!(crate::ids::hex(&bytes), GOLDEN);
    assert_eq!(Checkpoint::decode(&bytes).unwrap(), checkpoint);
}

#[test]
fn values_keep_the_stamps_and_origins_that_they_had() {
    let mut story = conflicted();
    let before = story.rebuild();
    checkpoint(&mut story, "site");
    let after = story.rebuild();
    assert_eq!(after.registers().collect::<Vec<_>>(), before.registers().collect::<Vec<_>>());
    assert_eq!(after.conflicts(), before.conflicts());
    assert_eq!(after.generation(), before.generation());
    assert_eq!(after.first(), before.first());
    for (_, values) in after.registers() {
        assert!(values.iter().all(|one| after.origin(&one.stamp.id) == before.origin(&one.stamp.id)));
    }
}

#[test]
fn what_was_written_in_the_dark_merges_by_its_own_lamport() {
    let mut story = conflicted();
    let seen = story.rebuild().heads().to_vec();
    let checkpointed = checkpoint(&mut story, "site");
    let dark = story.write("other", &seen, vec![put("/spec/a", "9")]);
    let state = story.rebuild();
    assert_eq!(state.heads(), crate::document::tests::sorted(&[checkpointed, dark]));
    assert_eq!(state.values("/spec/a")[0].stamp.id, dark);
    assert_eq!(state.values("/spec/a").len(), 3);
    // Equal whether or not the covered events are still there.
    let kept = story.members().filter(|(event, _)| [checkpointed, dark].contains(&event.id()));
    assert_eq!(DocumentState::rebuild(kept).unwrap(), state);
}

#[test]
fn a_covered_event_is_never_taken_again() {
    let mut story = Story::default();
    let base = story.write("site", &[], vec![put("/spec/a", "1")]);
    let id = checkpoint(&mut story, "site");
    let mut state = DocumentState::rebuild([(story.event(&id), Effect::Effective)]).unwrap();
    let expected = state.clone();
    assert!(!state.apply(story.event(&base), Effect::Effective).unwrap().changed);
    assert_eq!(state, expected);
}

#[test]
fn a_checkpoint_that_says_something_else_takes_the_place_of_what_it_covers() {
    let mut story = Story::default();
    story.write("site", &[], vec![put("/spec/a", "1")]);
    let mut state = story.rebuild();
    let mut forged = Checkpoint::of(&state).unwrap();
    forged.registers.get_mut("/spec/a").unwrap()[0].value = "2".into();
    let id = carry(&mut story, "site", &forged);
    let before = state.clone();
    assert!(state.apply(story.event(&id), Effect::Effective).is_err());
    assert_eq!(state, before);
    assert_eq!(story.rebuild().values("/spec/a")[0].value.as_ref(), "2");
}

#[test]
fn a_checkpoint_cannot_cover_itself_or_a_later_one() {
    let mut story = Story::default();
    story.write("site", &[], vec![put("/spec/a", "1")]);
    let state = story.rebuild();
    let mut claim = Checkpoint::of(&state).unwrap();
    claim.covered.raise(state.seen()[0].0, 100);
    let id = carry(&mut story, "site", &claim);
    assert_eq!(Checkpoint::in_event(story.event(&id)), None);
    assert_eq!(story.rebuild().values("/spec/a"), state.values("/spec/a"));

    let mut story = Story::default();
    let base = story.write("site", &[], vec![put("/spec/a", "1")]);
    story.write("site", &[base], vec![put("/spec/a", "3")]);
    let late = checkpoint(&mut story, "site");
    // An event without operations is what is left of it.
    let stranger = carry_after(&mut story, "stranger", &[base], &claim);
    let state = story.rebuild();
    assert!(Checkpoint::in_event(story.event(&stranger)).is_some());
    assert_eq!(state.heads(), crate::document::tests::sorted(&[late, stranger]));
    assert_eq!(state.values("/spec/a")[0].value.as_ref(), "3");
    assert_eq!(state.values("/spec/a").len(), 1);
}

#[test]
fn what_is_not_understood_is_not_covered() {
    let mut story = conflicted();
    let heads = story.rebuild().heads().to_vec();
    story.add("site", &heads, vec![], |header| header.schema = 7);
    assert_eq!(Checkpoint::of(&story.rebuild()), Err(CheckpointError::NeedsVersion(7)));
    assert_eq!(Checkpoint::of(&DocumentState::new()), Err(CheckpointError::Empty));
}

#[test]
fn a_state_too_large_for_an_event_is_refused() {
    let mut story = Story::default();
    let mut heads = vec![];
    for register in 0..3 {
        let value = format!("\"{}\"", "x".repeat(30_000));
        heads = vec![story.write("site", &heads, vec![put(&format!("/spec/{register}"), &value)])];
    }
    let error = Checkpoint::of(&story.rebuild()).unwrap().encode().unwrap_err();
    assert!(matches!(error, CheckpointError::TooLarge { bytes } if bytes > 90_000));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(checkpoint) = Checkpoint::decode(&bytes) {
            prop_assert_eq!(checkpoint.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn changed_bytes_never_panic_and_have_one_form(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = Checkpoint::of(&conflicted().rebuild()).unwrap().encode().unwrap();
        changes.iter().for_each(|(at, byte)| *at.get_mut(&mut bytes) = *byte);
        let end = if cut { length.index(bytes.len()) } else { bytes.len() };
        if let Ok(checkpoint) = Checkpoint::decode(&bytes[..end]) {
            prop_assert_eq!(checkpoint.encode().unwrap(), &bytes[..end]);
        }
    }
}

/// Two writers, one conflict.
fn conflicted() -> Story {
    let mut story = Story::default();
    let base = story.write("site", &[], vec![put("/spec/a", "1"), put("/status/ok", "true")]);
    story.write("site", &[base], vec![put("/spec/a", "2")]);
    story.write("other", &[base], vec![put("/spec/a", "3")]);
    story
}

fn checkpoint(story: &mut Story, who: &str) -> EventId {
    let made = Checkpoint::of(&story.rebuild()).unwrap();
    carry(story, who, &made)
}

fn carry(story: &mut Story, who: &str, checkpoint: &Checkpoint) -> EventId {
    let heads = story.rebuild().heads().to_vec();
    carry_after(story, who, &heads, checkpoint)
}

fn carry_after(story: &mut Story, who: &str, after: &[EventId], checkpoint: &Checkpoint) -> EventId {
    let bytes = checkpoint.encode().unwrap();
    story.add(who, after, vec![], |header| {
        header.extensions.insert(EXTENSION_CHECKPOINT, bytes);
    })
}
