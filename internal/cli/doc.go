// Package cli is the command line cairn, also usable as kubectl cairn.
//
// It promises:
//   - validate needs neither a cluster nor the network (TestValidateIsOffline).
//   - An error is one line that says what to do; no stack, no credential (TestErrorsAreOneLine).
//   - The exit code says how it ended; "cairn help exit-codes" lists them (TestExitCodes).
//   - Output and errors go to the streams that are passed in, without colours. Tables cut nothing but revisions and
//     commits; -o json and -o yaml hold objects whole.
//   - trigger and restore, repeated with the same name, find what they made and do not make it twice (TestTrigger,
//     TestRestore).
package cli
