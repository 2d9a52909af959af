// Package program runs one program and streams its standard output, or feeds its standard input. It uses no shell.
//
// Invariants: a program ended well only if its exit code is 0 and everything that it wrote was read, or everything
// that it should read was read. Every other end is an error, which comes before a reader could take the stream for
// whole. Nothing of the program outlives its Output or Input: its process group is killed in the end, and the kernel
// kills it together with this process.
//
// Concurrency: an Output or Input is for one goroutine. Any goroutine can cancel its context.
package program
