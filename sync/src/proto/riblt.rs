//! A rateless invertible Bloom lookup table: what two sets do not share, from a stream of cells whose
//! length follows the difference and not the sets.
//!
//! Pure values: items in, cells out, and back. It knows nothing of scopes, frames or peers.
//!
//! A set is described by an endless sequence of *cells*. A cell adds up (by exclusive or) the items that
//! fall into it and their checks, and counts them. Every item falls into the first cell and into cell i
//! with probability 1/(1 + i/2). Of two sequences the difference, cell by cell, describes the items that
//! only one side has: what both have cancels. A cell with one item left gives it away; taken out of
//! its other cells, that uncovers more, until all cells are empty. About 1.35 (many differences) to 1.7
//! cells (few) are needed for each difference; whoever has too few asks for more, which go on where the
//! last ended. From Yang, Gilad, Alizadeh: Practical Rateless Set Reconciliation, SIGCOMM 2024.
//!
//! A [`Sketch`] keeps the beginning of that sequence while its set changes, for about 2·ln(cells) cells
//! a change, so that describing a set to a peer costs a copy.
//!
//! Items have to look random: they are taken from a cryptographic hash. Checks and places are not
//! keyed. Whoever can choose what is hashed can at worst, by much searching, make a difference that
//! does not decode; callers have another way for that. The same goes for a sum of several items that
//! passes for one, which by chance happens once in four thousand million looks at a cell. Nothing that is
//! decoded is proven by its check: a hostile sender of cells can have any items found, and nothing else.
//!
//! ```
//! use driftless_sync::proto::riblt::{Sketch, difference};
//!
//! let item = |name: &str| blake3::hash(name.as_bytes()).as_bytes()[..16].try_into().expect("16 bytes");
//! let (mut ours, mut theirs) = (Sketch::new(64), Sketch::new(64));
//! for n in 0..10_000 {
//!     ours.insert(&item(&n.to_string()));
//!     theirs.insert(&item(&n.to_string()));
//! }
//! ours.insert(&item("only ours"));
//! theirs.insert(&item("only theirs"));
//! let found = difference(ours.cells(), &theirs.cells()[..16]).expect("16 cells are enough for 2 items");
//! assert_eq!(found.ours, [item("only ours")]);
//! assert_eq!(found.theirs, [item("only theirs")]);
//! ```

/// What sets consist of: 16 bytes that look random.
pub type Item = [u8; 16];

/// Most cells that are searched for pairs, most pairs at a time, and most times that they are: each costs a look
/// at the whole set, and more cells need no such help.
const PAIRED_CELLS_MAX: usize = 32;
const PAIRS_MAX: usize = 8;
const PAIR_ROUNDS_MAX: usize = 4;

/// The sum of the items that fall into one place. 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// Exclusive or of the items, each as a big-endian number.
    pub items: u128,
    /// Exclusive or of the items' checks.
    pub checks: u32,
    /// How many items; in a difference, ours less theirs.
    pub count: i64,
}

/// The first cells of a set, kept while it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    cells: Vec<Cell>,
}

/// What a cell has left if that is one item of ours and one of theirs: their sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    items: u128,
    checks: u32,
}

impl Pair {
    /// Whether an item is one of the two, as far as their checks tell.
    pub fn has(&self, item: &Item) -> bool {
        self.is_with(&Hashed::of(u128::from_be_bytes(*item)))
    }

    fn is_with(&self, one: &Hashed) -> bool {
        Hashed::of(one.item ^ self.items).check ^ one.check == self.checks
    }
}

/// What only one of two sets has. The order has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Items of the first set.
    pub ours: Vec<Item>,
    /// Items of the second.
    pub theirs: Vec<Item>,
}

impl Difference {
    /// Whether the sets are equal.
    pub fn is_empty(&self) -> bool {
        self.ours.is_empty() && self.theirs.is_empty()
    }
}

impl Sketch {
    /// The first so many cells of the empty set.
    pub fn new(cells: usize) -> Self {
        Self { cells: vec![Cell::default(); cells] }
    }

    /// Adds an item that is not in the set.
    pub fn insert(&mut self, item: &Item) {
        add(&mut self.cells, &Hashed::of(u128::from_be_bytes(*item)), 1);
    }

    /// Takes out an item that is in the set.
    pub fn remove(&mut self, item: &Item) {
        add(&mut self.cells, &Hashed::of(u128::from_be_bytes(*item)), -1);
    }

    /// The cells, from the first.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// How many items the set has.
    pub fn items(&self) -> u64 {
        self.cells.first().map_or(0, |cell| cell.count.unsigned_abs())
    }
}

/// The difference of two sets by their first cells: of ours at least as many as of theirs, which decide.
/// `None` if that many are too few.
///
/// Whatever the cells are, this ends after at most as many items as there are cells.
pub fn difference(ours: &[Cell], theirs: &[Cell]) -> Option<Difference> {
    difference_knowing(ours, theirs, &mut |_| vec![])
}

/// The same with the help of whoever knows our items, who can tell few differences from fewer cells.
///
/// Two items may share all of the few first cells; then none gives them away. But of all our items only one
/// leaves, taken out of their sum, an item with the check that remains. `ours_of` says which belong to
/// which pairs, and is asked when nothing else helps any more. One pair may so come out of each cell, beside
/// the items that a cell gives away.
pub fn difference_knowing(
    ours: &[Cell],
    theirs: &[Cell],
    ours_of: &mut dyn FnMut(&[Pair]) -> Vec<Item>,
) -> Option<Difference> {
    let mut cells = subtract(ours, theirs)?;
    let mut found = Difference::default();
    let mut left = cells.len();
    let mut pure: Vec<usize> = (0..cells.len()).collect();
    for round in 0.. {
        while let Some(at) = pure.pop() {
            // Another item that was taken out may have emptied it since.
            let Some((hashed, sign)) = cells[at].single() else { continue };
            left = left.checked_sub(1)?;
            let side = if sign > 0 { &mut found.ours } else { &mut found.theirs };
            side.push(hashed.item.to_be_bytes());
            take_out(&mut cells, &hashed, sign, &mut pure);
        }
        if cells.len() > PAIRED_CELLS_MAX || round == PAIR_ROUNDS_MAX {
            break;
        }
        let pairs: Vec<Pair> = cells.iter().filter_map(Cell::pair).take(PAIRS_MAX).collect();
        if pairs.is_empty() {
            break;
        }
        for item in ours_of(&pairs) {
            let our = Hashed::of(u128::from_be_bytes(item));
            // Taking out one of a pair leaves the other alone in its cell.
            let Some(pair) = pairs.iter().find(|pair| pair.is_with(&our)) else { continue };
            if cells.iter().any(|cell| cell.pair().as_ref() == Some(pair)) {
                found.ours.push(item);
                take_out(&mut cells, &our, 1, &mut pure);
            }
        }
        if pure.is_empty() {
            break;
        }
    }
    cells.iter().all(|cell| *cell == Cell::default()).then_some(found)
}

/// Takes an item out of its cells and notes which of them have one left.
fn take_out(cells: &mut [Cell], hashed: &Hashed, sign: i64, pure: &mut Vec<usize>) {
    let length = cells.len();
    for place in Places::of(hashed).take_while(|place| *place < length) {
        cells[place].add(hashed, -sign);
        if cells[place].single().is_some() {
            pure.push(place);
        }
    }
}

/// How many items two sets do not share, roughly and rather too few than too many, from cells that are
/// too few to tell which: by how far the counts of cells stray from what their density lets expect.
pub fn estimate(ours: &[Cell], theirs: &[Cell]) -> usize {
    let Some(cells) = subtract(ours, theirs) else { return 0 };
    let surplus = cells.first().map_or(0, |cell| cell.count) as f64;
    let (mut squares, mut variance) = (0.0, 0.0);
    for (at, cell) in cells.iter().enumerate().skip(1) {
        let density = 2.0 / (at as f64 + 2.0);
        squares += (cell.count as f64 - surplus * density).powi(2);
        variance += density * (1.0 - density);
    }
    if variance == 0.0 {
        return surplus.abs() as usize;
    }
    // Less one standard error of a variance that was estimated from so many cells.
    let doubt = 1.0 - (2.0 / cells.len() as f64).sqrt();
    (squares / variance * doubt).max(surplus.abs()) as usize
}

impl Cell {
    fn add(&mut self, hashed: &Hashed, sign: i64) {
        self.items ^= hashed.item;
        self.checks ^= hashed.check;
        self.count = self.count.wrapping_add(sign);
    }

    /// What is left in a cell that may have one item of each side left, and no more.
    fn pair(&self) -> Option<Pair> {
        let is_pair = self.count == 0 && self.items != 0;
        is_pair.then_some(Pair { items: self.items, checks: self.checks })
    }

    /// The only item in a cell and whose it is, if there is exactly one.
    fn single(&self) -> Option<(Hashed, i64)> {
        if self.count != 1 && self.count != -1 {
            return None;
        }
        let hashed = Hashed::of(self.items);
        (hashed.check == self.checks).then_some((hashed, self.count))
    }
}

/// Ours less theirs, as many as there are of theirs; `None` if ours are fewer.
fn subtract(ours: &[Cell], theirs: &[Cell]) -> Option<Vec<Cell>> {
    let less = |(ours, theirs): (&Cell, &Cell)| Cell {
        items: ours.items ^ theirs.items,
        checks: ours.checks ^ theirs.checks,
        count: ours.count.wrapping_sub(theirs.count),
    };
    Some(ours.get(..theirs.len())?.iter().zip(theirs).map(less).collect())
}

fn add(cells: &mut [Cell], hashed: &Hashed, sign: i64) {
    for place in Places::of(hashed) {
        let Some(cell) = cells.get_mut(place) else { break };
        cell.add(hashed, sign);
    }
}

/// An item with what follows from it.
struct Hashed {
    item: u128,
    check: u32,
    seed: u64,
}

impl Hashed {
    fn of(item: u128) -> Self {
        let (high, low) = ((item >> 64) as u64, item as u64);
        let inner = mix(low ^ 0x9e37_79b9_7f4a_7c15);
        let outer = mix(inner.wrapping_add(high));
        Self { item, check: outer as u32, seed: mix(outer ^ high) }
    }
}

/// The cells into which an item falls, ascending, without end. Falling into cell i with probability
/// 1/(1 + i/2), an item passes over all of i + 1 to j with probability (i+1)(i+2) / ((j+1)(j+2)). The walk
/// draws that and solves for j, so that it touches no cell in vain.
struct Places {
    state: u64,
    next: u64,
}

impl Places {
    fn of(hashed: &Hashed) -> Self {
        Self { state: hashed.seed, next: 0 }
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.next;
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // 32 random bits are a fraction in (0, 1]; root and division are exact by IEEE 754, so that
        // every machine takes the same steps.
        let fraction = ((mix(self.state) >> 32) + 1) as f64 / 4_294_967_296.0;
        let passed = (place as f64 + 1.0) * (place as f64 + 2.0) / fraction;
        let next = ((passed + 0.25).sqrt() - 1.5).ceil();
        self.next = (next as u64).max(place.saturating_add(1));
        usize::try_from(place).ok()
    }
}

/// A permutation of 64 bits after which each bit depends on all (splitmix64's).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
