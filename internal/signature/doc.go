// Package signature verifies who has signed a commit or an annotated tag of Git, with OpenPGP or SSH keys that the
// caller trusts. It is pure: objects, keys and the time are parameters. Every function is safe for concurrent use.
//
// It reads the object itself, byte for byte as the signer has seen it, and returns what the signed bytes name: the
// tree of a commit, the object and the name of a tag. A caller who applies only that does not depend on how another
// parser reads the object.
//
// # Invariants, and the tests that break when they are broken
//
//   - What Git signs with gpg or ssh-keygen is accepted (TestGitSigns), and each change of a byte that was signed is
//     found (TestAChangedByteIsFound).
//   - Exactly one signature counts, and nothing stands beside it (TestRefused).
//   - A key that is unknown, expired, revoked or weak signs nothing, also with a date in the past (TestRefused,
//     TestAnExpiredKey, TestWeakKeys).
//   - A Secret with a value that is no trusted key is refused as a whole, and no error quotes a value
//     (TestKeysRefused).
//   - Sizes are bounded before anything is parsed (TestSizes). No bytes make a parser panic (FuzzVerify,
//     FuzzParseKeys).
package signature
