//! Differences of two texts, line by line, in the unified form.

/// Lines around a change.
const CONTEXT: usize = 3;
/// Most steps of the search; beyond, everything between the common head and tail counts as changed.
const STEPS_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Both(usize, usize),
    Old(usize),
    New(usize),
}

/// The difference of `old` and `new`, with three lines around each change; empty if there is none.
pub(super) fn unified(old_name: &str, new_name: &str, old: &str, new: &str) -> String {
    let old_lines: Vec<&str> = old.lines().collect();
    let new_lines: Vec<&str> = new.lines().collect();
    let steps = steps(&old_lines, &new_lines);
    let changed: Vec<usize> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| !matches!(step, Step::Both(..)))
        .map(|(at, _)| at)
        .collect();
    let Some((&first, rest)) = changed.split_first() else { return String::new() };
    let mut out = format!("--- {old_name}\n+++ {new_name}\n");
    let (mut start, mut end) = (first, first);
    for &at in rest {
        if at - end > 2 * CONTEXT {
            hunk(&mut out, &steps, start, end, &old_lines, &new_lines);
            start = at;
        }
        end = at;
    }
    hunk(&mut out, &steps, start, end, &old_lines, &new_lines);
    out
}

fn hunk(out: &mut String, steps: &[Step], start: usize, end: usize, old: &[&str], new: &[&str]) {
    let from = start.saturating_sub(CONTEXT);
    let shown = &steps[from..(end + CONTEXT + 1).min(steps.len())];
    let count = |is: fn(&Step) -> bool, steps: &[Step]| steps.iter().filter(|step| is(step)).count();
    let in_old: fn(&Step) -> bool = |step| !matches!(step, Step::New(_));
    let in_new: fn(&Step) -> bool = |step| !matches!(step, Step::Old(_));
    let range = |is: fn(&Step) -> bool| {
        let (before, within) = (count(is, &steps[..from]), count(is, shown));
        // An empty range stands behind the line that it names.
        format!("{},{within}", if within == 0 { before } else { before + 1 })
    };
    out.push_str(&format!("@@ -{} +{} @@\n", range(in_old), range(in_new)));
    for step in shown {
        let (sign, line) = match *step {
            Step::Both(at, _) => (' ', old[at]),
            Step::Old(at) => ('-', old[at]),
            Step::New(at) => ('+', new[at]),
        };
        out.push(sign);
        out.push_str(line);
        out.push('\n');
    }
}

/// The steps from one text to the other: Myers' greedy search between what both begin and end with.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let old_middle = &old_rest[..old_rest.len() - tail];
    let new_middle = &new_rest[..new_rest.len() - tail];
    let mut steps: Vec<Step> = (0..head).map(|at| Step::Both(at, at)).collect();
    match search(old_middle, new_middle) {
        Some(middle) => steps.extend(middle.into_iter().map(|step| match step {
            Step::Both(a, b) => Step::Both(a + head, b + head),
            Step::Old(a) => Step::Old(a + head),
            Step::New(b) => Step::New(b + head),
        })),
        None => {
            steps.extend((0..old_middle.len()).map(|at| Step::Old(at + head)));
            steps.extend((0..new_middle.len()).map(|at| Step::New(at + head)));
        }
    }
    let (old_at, new_at) = (head + old_middle.len(), head + new_middle.len());
    steps.extend((0..tail).map(|at| Step::Both(old_at + at, new_at + at)));
    steps
}

/// Myers, "An O(ND) Difference Algorithm" (1986), forwards; `None` when it takes more than [`STEPS_MAX`].
fn search(old: &[&str], new: &[&str]) -> Option<Vec<Step>> {
    let most = old.len() + new.len();
    let middle = most.min(STEPS_MAX) + 1;
    let mut furthest = vec![0usize; 2 * middle + 1];
    let mut trace: Vec<Vec<usize>> = Vec::new();
    for depth in 0..=most.min(STEPS_MAX) {
        // Only the diagonals that this depth can reach are kept.
        trace.push(furthest[middle - depth..=middle + depth].to_vec());
        for k in (0..=depth).map(|at| middle - depth + 2 * at) {
            let down = k == middle - depth || (k != middle + depth && furthest[k - 1] < furthest[k + 1]);
            let mut x = if down { furthest[k + 1] } else { furthest[k - 1] + 1 };
            let mut y = x + middle - k;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            furthest[k] = x;
            if x >= old.len() && y >= new.len() {
                return Some(walk_back(&trace, old.len(), new.len()));
            }
        }
    }
    None
}

fn walk_back(trace: &[Vec<usize>], old: usize, new: usize) -> Vec<Step> {
    let (mut x, mut y) = (old, new);
    let mut steps = Vec::new();
    for (depth, furthest) in trace.iter().enumerate().rev() {
        if depth == 0 {
            while x > 0 {
                (x, y) = (x - 1, y - 1);
                steps.push(Step::Both(x, y));
            }
            break;
        }
        // Diagonal k = x - y; the row holds the diagonals -depth..=depth of the depth before.
        let at = |k: isize| usize::try_from(k + depth as isize).ok().and_then(|at| furthest.get(at)).copied();
        let k = x as isize - y as isize;
        let reach = depth as isize;
        let down = k == -reach || (k != reach && at(k - 1) < at(k + 1));
        let from = if down { k + 1 } else { k - 1 };
        let from_x = at(from).unwrap_or(0);
        let from_y = usize::try_from(from_x as isize - from).unwrap_or(0);
        let (stop_x, stop_y) = if down { (from_x, from_y + 1) } else { (from_x + 1, from_y) };
        while x > stop_x && y > stop_y {
            (x, y) = (x - 1, y - 1);
            steps.push(Step::Both(x, y));
        }
        match down {
            true => steps.push(Step::New(from_y)),
            false => steps.push(Step::Old(from_x)),
        }
        (x, y) = (from_x, from_y);
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes_in_its_surroundings() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let new = old.replace("e\n", "E\n");
        assert_eq!(
            unified("x", "y", old, &new),
            "--- x\n+++ y\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n"
        );
        assert_eq!(unified("x", "y", old, old), "");
    }

    #[test]
    fn changes_far_apart_are_hunks_of_their_own() {
        let old: String = (0..30).map(|line| format!("{line}\n")).collect();
        let new = old.replace("\n3\n", "\nthree\n").replace("\n25\n", "\n");
        let diff = unified("x", "y", &old, &new);
        assert_eq!(diff.matches("@@ -").count(), 2, "{diff}");
        assert!(diff.contains("-25\n") && diff.contains("+three\n"));
    }

    #[test]
    fn a_new_text_is_all_additions() {
        assert_eq!(unified("x", "y", "", "a\nb\n"), "--- x\n+++ y\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(unified("x", "y", "a\n", ""), "--- x\n+++ y\n@@ -1,1 +0,0 @@\n-a\n");
    }

    #[test]
    fn applying_the_steps_gives_the_new_text_with_few_changes() {
        // Every pair of texts of up to five lines over an alphabet of three.
        let words = |mut code: usize| {
            let mut lines = Vec::new();
            while code > 0 {
                lines.push(["a", "b", "c"][code % 3]);
                code /= 3;
            }
            lines
        };
        for left in 0..243 {
            for right in (0..243).step_by(7) {
                let (old, new) = (words(left), words(right));
                let steps = steps(&old, &new);
                let rebuilt: Vec<&str> = steps
                    .iter()
                    .filter_map(|step| match step {
                        Step::Both(a, b) => {
                            assert_eq!(old[*a], new[*b]);
                            Some(new[*b])
                        }
                        Step::New(b) => Some(new[*b]),
                        Step::Old(_) => None,
                    })
                    .collect();
                let taken = steps.iter().filter(|step| !matches!(step, Step::New(_))).count();
                assert_eq!((rebuilt, taken), (new.clone(), old.len()), "{old:?} {new:?}");
                let kept = steps.iter().filter(|step| matches!(step, Step::Both(..))).count();
                assert_eq!(kept, longest_common(&old, &new), "{old:?} {new:?}");
            }
        }
    }

    fn longest_common(old: &[&str], new: &[&str]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for old in old {
            let mut diagonal = 0;
            for (at, new) in new.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if old == new { diagonal + 1 } else { above.max(row[at]) };
                diagonal = above;
            }
        }
        row[new.len()]
    }
}
