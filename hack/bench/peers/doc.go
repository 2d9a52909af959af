// Package peers measures the mover against the programs of kopia and restic, each of which is built from the module in
// the directory of its name, and measures what memory the mover takes. There is nothing in it but benchmarks.
package peers
