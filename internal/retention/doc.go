// Package retention decides which Snapshots stay, and says of each which rule keeps it or lets it go. It is pure: the same
// Snapshots, policy and time give the same answer in the controllers and on the command line.
package retention
