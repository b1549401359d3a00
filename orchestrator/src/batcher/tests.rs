//! How items are chosen for a batch, and how a batch is split.

use super::*;

fn tick(saga: u128, bytes: usize) -> Item {
    let saga = SagaId(Uuid::from_u128(saga));
    Item::Event(EventItem {
        saga,
        event: Event::Tick {},
        source: Source::Attempt,
        bytes,
    })
}

fn sagas(items: &[Item]) -> Vec<u128> {
    items.iter().map(|item| item.saga().0.as_u128()).collect()
}

fn pending(ids: &[u128]) -> VecDeque<Item> {
    ids.iter().map(|saga| tick(*saga, 64)).collect()
}

#[test]
fn a_saga_in_flight_waits_and_keeps_its_place() {
    let mut waiting = pending(&[1, 2, 1, 3, 4]);
    let busy = HashSet::from([SagaId(Uuid::from_u128(1))]);
    let batch = take_batch(&mut waiting, &busy, 2).expect("two sagas are free");
    assert_eq!(sagas(&batch), [2, 3]);
    assert_eq!(sagas(waiting.make_contiguous()), [1, 1, 4]);
    assert!(take_batch(&mut pending(&[1, 1]), &busy, 2).is_none());
}

#[test]
fn a_batch_is_limited_by_sagas_not_by_events() {
    let mut waiting = pending(&[1, 1, 2, 1, 3, 2]);
    let batch = take_batch(&mut waiting, &HashSet::new(), 2).expect("nothing is in flight");
    assert_eq!(sagas(&batch), [1, 1, 2, 1]);
    assert_eq!(sagas(waiting.make_contiguous()), [3, 2]);
}

#[test]
fn a_batch_is_limited_by_bytes_but_never_empty() {
    let mut waiting: VecDeque<Item> = [tick(1, BATCH_BYTES_MAX + 1), tick(2, 1)].into();
    assert_eq!(
        sagas(&take_batch(&mut waiting, &HashSet::new(), 10).expect("one goes alone")),
        [1]
    );
    assert_eq!(
        sagas(&take_batch(&mut waiting, &HashSet::new(), 10).expect("the next")),
        [2]
    );
}

#[test]
fn a_split_ends_with_single_sagas() {
    let mut items: Vec<Item> = pending(&[3, 1, 2, 1, 3]).into();
    let mut rest = split(&mut items).expect("there are three sagas");
    assert_eq!((sagas(&items), sagas(&rest)), (vec![1, 1], vec![3, 2, 3]));
    assert!(split(&mut items).is_none(), "one saga is not split");
    let last = split(&mut rest).expect("there are two sagas");
    assert_eq!((sagas(&rest), sagas(&last)), (vec![2], vec![3, 3]));
}

#[test]
fn only_small_batches_of_several_sagas_are_followed_by_a_rest() {
    let took = Duration::from_millis(3);
    assert_eq!(rest_after(1, took), None);
    assert_eq!(rest_after(REST_FROM, took), Some(took));
    assert_eq!(rest_after(REST_ENDS_AT - 1, Duration::from_secs(1)), Some(REST_MAX));
    assert_eq!(rest_after(REST_ENDS_AT, took), None);
}
