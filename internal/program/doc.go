// Package program runs one program and streams what it writes to its standard output, or feeds its standard input. No shell takes
// part. A program ended well only if its exit code is 0 and all that it wrote was read, or all that it was to read was taken: every
// other end is an error, and comes before anybody could take the stream for whole. Nothing of the program outlives its Output or
// Input: it has a process group of its own, which is killed in the end, and the kernel kills it with this process.
//
// An Output or Input is for one goroutine; stopping it with its context is for any.
package program
