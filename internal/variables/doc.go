// Package variables fills in ${name} in the templates of Addons, Functions and hooks. A value is never looked at again once it was put
// in, and never goes through a text format: it can neither name a variable nor break what it is put into.
package variables
