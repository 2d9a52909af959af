// Package cheapkeys lets tests open repositories without paying for their passwords: kopia derives a key with
// scrypt, on purpose at 64 MiB and a good part of a second, at every Init twice and at every Open once.
package cheapkeys

import (
	"fmt"
	"reflect"
	"testing"
	"unsafe" // and for go:linkname

	_ "github.com/kopia/kopia/repo" // registers the key derivations
)

// Algorithm is the derivation that becomes cheap, as format blobs name it.
const Algorithm = "scrypt-65536-8-1"

const cheapest = 2 // scrypt's N

// keyDeriver is kopia's interface of a derivation. Its method is kopia's own: nothing here implements it.
type keyDeriver interface {
	deriveKeyFromPassword(password string, salt []byte, keySize int) ([]byte, error)
}

// kopia has a cheap derivation of its own behind a build tag, which whoever types `go test` would have to know.
//
//go:linkname keyDerivers github.com/kopia/kopia/internal/crypto.keyDerivers
var keyDerivers map[string]keyDeriver

// Use makes the cost of Algorithm next to nothing for the rest of this process. It takes what only a test
// program has, so that the product cannot call it. Repositories made so open only in processes that called it.
func Use(*testing.M) {
	d := reflect.ValueOf(keyDerivers[Algorithm])
	if d.Kind() != reflect.Pointer || d.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("kopia has no derivation %s, or a new sort of it", Algorithm))
	}
	n := d.Elem().FieldByName("n")
	if n.Kind() != reflect.Int || n.Int() != 65536 {
		panic(fmt.Sprintf("kopia's derivation %s has another cost than it says", Algorithm))
	}
	reflect.NewAt(n.Type(), unsafe.Pointer(n.UnsafeAddr())).Elem().SetInt(cheapest)
}
