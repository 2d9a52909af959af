// Package retention decides which Snapshots stay, and says for each which rule keeps it or lets it go. It is pure, so
// it is safe for concurrent use: the same Snapshots, policy and time give the same answer in the controllers and on
// the command line.
package retention
