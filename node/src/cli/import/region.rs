//! The region of a store from its address: in the US the census region of its state, elsewhere the country.

/// A US state (or the District of Columbia) by postal code or name: its code and census region.
pub(super) fn us_state(text: &str) -> Option<(&'static str, &'static str)> {
    STATES.iter().find_map(|(region, states)| {
        let mut pairs =
            states.split(' ').map(|pair| pair.split_once('=').expect("the table below is made of pairs"));
        let (code, _) = pairs.find(|(code, name)| {
            text.eq_ignore_ascii_case(code) || text.eq_ignore_ascii_case(&name.replace('_', " "))
        })?;
        Some((code, *region))
    })
}

/// Whether a postal code is Canadian: letter, digit, letter, then digit, letter, digit.
pub(super) fn is_canadian_postal_code(text: &str) -> bool {
    let code: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let letters = |at: usize| {
        if at.is_multiple_of(2) { code[at].is_ascii_alphabetic() } else { code[at].is_ascii_digit() }
    };
    code.len() == 6 && (0..6).all(letters)
}

/// Regions of the United States Census Bureau.
const STATES: [(&str, &str); 4] = [
    (
        "us-northeast",
        "CT=Connecticut ME=Maine MA=Massachusetts NH=New_Hampshire NJ=New_Jersey NY=New_York PA=Pennsylvania \
         RI=Rhode_Island VT=Vermont",
    ),
    (
        "us-midwest",
        "IL=Illinois IN=Indiana IA=Iowa KS=Kansas MI=Michigan MN=Minnesota MO=Missouri NE=Nebraska \
         ND=North_Dakota OH=Ohio SD=South_Dakota WI=Wisconsin",
    ),
    (
        "us-south",
        "AL=Alabama AR=Arkansas DE=Delaware DC=District_of_Columbia FL=Florida GA=Georgia KY=Kentucky LA=Louisiana \
         MD=Maryland MS=Mississippi NC=North_Carolina OK=Oklahoma SC=South_Carolina TN=Tennessee TX=Texas VA=Virginia \
         WV=West_Virginia",
    ),
    (
        "us-west",
        "AK=Alaska AZ=Arizona CA=California CO=Colorado HI=Hawaii ID=Idaho MT=Montana NV=Nevada NM=New_Mexico \
         OR=Oregon UT=Utah WA=Washington WY=Wyoming",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_region() {
        let codes: Vec<_> =
            STATES.iter().flat_map(|(_, states)| states.split(' ')).map(|pair| &pair[..2]).collect();
        assert_eq!(codes.len(), 51);
        assert_eq!(codes.iter().collect::<std::collections::BTreeSet<_>>().len(), 51);
        assert_eq!(us_state("tx"), Some(("TX", "us-south")));
        assert_eq!(us_state("New Mexico"), Some(("NM", "us-west")));
        assert_eq!(us_state("District of Columbia"), Some(("DC", "us-south")));
        assert_eq!(us_state("ON"), None);
        assert_eq!(us_state(""), None);
        assert!(
            is_canadian_postal_code("N9C 3Z3")
                && !is_canadian_postal_code("35404-4246")
                && !is_canadian_postal_code("")
        );
    }
}
