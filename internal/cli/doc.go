// Package cli is the command line cairn, which is also usable as kubectl cairn.
//
// Concurrency: a command runs in one goroutine. Commands share nothing.
//
// Invariants:
//   - validate needs neither a cluster nor the network (TestValidateIsOffline).
//   - An error is one line that says what to do, without a stack or a credential (TestErrorsAreOneLine).
//   - The exit code says how the command ended; "cairn help exit-codes" lists the codes (TestExitCodes).
//   - Output and errors go to the passed streams, without colours. Tables shorten nothing but revisions and commits;
//     -o json and -o yaml print whole objects.
//   - trigger and restore, repeated with the same name, find the object that they created and create no second one
//     (TestTrigger, TestRestore).
package cli
