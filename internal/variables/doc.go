// Package variables fills in ${name} in the templates of Addons, Functions and hooks. It is pure and safe for
// concurrent use. Invariant: a value that was filled in is never expanded again and never passes through a text format,
// so it can neither name a variable nor break what surrounds it.
package variables
