//! Ranges of sequence numbers, as rows have them: the first and last number of each, one after the other.

/// The ranges of a row. A number without its pair, which nothing here writes, is left out.
pub fn pairs(ranges: &[u64]) -> impl Iterator<Item = [u64; 2]> + Clone + '_ {
    ranges.as_chunks().0.iter().copied()
}

/// Whether a number lies in one of them.
pub fn contain(ranges: &[u64], number: u64) -> bool {
    pairs(ranges).any(|[first, last]| (first..=last).contains(&number))
}

/// In order, with what overlaps or adjoins put together; at most `most`, the first ones.
pub fn merged(ranges: impl IntoIterator<Item = [u64; 2]>, most: usize) -> Vec<u64> {
    let mut ranges: Vec<[u64; 2]> = ranges.into_iter().filter(|[first, last]| first <= last).collect();
    ranges.sort_unstable();
    let mut merged: Vec<[u64; 2]> = Vec::new();
    for [first, last] in ranges {
        match merged.last_mut().filter(|before| before[1].checked_add(1).is_none_or(|next| first <= next)) {
            Some(before) => before[1] = before[1].max(last),
            None => merged.push([first, last]),
        }
    }
    merged.truncate(most);
    merged.concat()
}

/// What lies after a number.
pub fn after(ranges: impl IntoIterator<Item = [u64; 2]>, number: u64) -> impl Iterator<Item = [u64; 2]> {
    let from = number.saturating_add(1);
    ranges.into_iter().filter(move |[_, last]| *last > number).map(move |[first, last]| [first.max(from), last])
}

/// What lies in both.
pub fn common(some: &[u64], others: &[u64]) -> Vec<[u64; 2]> {
    let both = |a: [u64; 2]| pairs(others).map(move |b| [a[0].max(b[0]), a[1].min(b[1])]);
    pairs(some).flat_map(both).filter(|[first, last]| first <= last).collect()
}

/// What of a range lies in none of these.
pub fn outside(ranges: &[u64], [first, last]: [u64; 2]) -> Vec<[u64; 2]> {
    let mut ranges: Vec<[u64; 2]> = pairs(ranges).collect();
    ranges.sort_unstable();
    let (mut outside, mut from) = (Vec::new(), Some(first));
    for [a, b] in ranges {
        let Some(begin) = from else { break };
        if begin < a {
            outside.push([begin, last.min(a - 1)]);
        }
        from = if begin <= b { b.checked_add(1) } else { Some(begin) };
    }
    outside.extend(from.map(|begin| [begin, last]));
    outside.retain(|[first, last]| first <= last);
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_or_adjoins_is_one_range() {
        let ranges = [[9, 9], [3, 5], [4, 4], [6, 7], [12, 11], [u64::MAX, u64::MAX], [20, u64::MAX]];
        assert_eq!(merged(ranges, 8), [3, 7, 9, 9, 20, u64::MAX]);
        assert_eq!(merged(ranges, 1), [3, 7]);
        assert!(merged([], 8).is_empty());
    }

    #[test]
    fn each_number_is_where_it_belongs() {
        let (some, others) = ([3, 7, 9, 9, 20, 30], [1, 3, 5, 9, 25, u64::MAX]);
        let after = merged(after(pairs(&some), 5), 8);
        let common = merged(common(&some, &others), 8);
        for number in 0..40 {
            let (a, b) = (contain(&some, number), contain(&others, number));
            assert_eq!(contain(&after, number), a && number > 5, "{number}");
            assert_eq!(contain(&common, number), a && b, "{number}");
        }
        assert_eq!(super::after([[1, u64::MAX]], u64::MAX).count(), 0);
    }

    #[test]
    fn what_lies_outside_is_what_is_in_no_range() {
        let ranges = [9, 9, 3, 5, 4, 6, 20, 30];
        for (first, last) in [(0, 40), (4, 8), (3, 6), (10, 19), (25, 25), (30, 31)] {
            let outside = outside(&ranges, [first, last]).concat();
            for number in 0..42 {
                let expected = (first..=last).contains(&number) && !contain(&ranges, number);
                assert_eq!(contain(&outside, number), expected, "{number} of {first} to {last}");
            }
        }
        assert!(outside(&[1, u64::MAX], [5, u64::MAX]).is_empty());
        assert_eq!(outside(&[], [5, u64::MAX]), [[5, u64::MAX]]);
    }
}
