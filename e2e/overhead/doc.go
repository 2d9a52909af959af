// Package overhead measures on a real cluster how long a run takes that has next to nothing to move: from its slot until it is
// said to have succeeded. "make bench" runs it, and K8up on the same cluster beside it.
package overhead
