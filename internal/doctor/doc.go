// Package doctor judges an installation of Cairn: what it grants and to whom, what is reachable, which defaults apply
// where, and what deviates from docs/security.md. It is pure: Judge takes what was read from a cluster and returns
// findings. It decides nothing itself that the product decides elsewhere: defaults are chosen by internal/policy,
// addresses are judged by internal/egress, and what a Ledger records is a Scope of internal/ledger.
//
// Invariants:
//   - What could not be read is a finding, never an approval (TestWhatIsNotReadIsNotApproved).
//   - A deviation names a section of docs/security.md that exists (TestEachDeviationPointsAtASectionOfThePage).
//   - A finding holds no credential: of a URL it shows scheme, host and port (TestNoCredentialIsShown).
package doctor
