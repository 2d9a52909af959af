// Package cheapkeys lets tests open repositories without an expensive key derivation. kopia derives a key with
// scrypt, which on purpose takes 64 MiB and a good part of a second: twice at every Init and once at every Open.
package cheapkeys

import (
	"fmt"
	"reflect"
	"testing"
	"unsafe" // and for go:linkname

	_ "github.com/kopia/kopia/repo" // registers the key derivations
)

// Algorithm is the name of the derivation in format blobs. Use makes it cheap.
const Algorithm = "scrypt-65536-8-1"

const cheapest = 2 // scrypt's N

// keyDeriver is kopia's interface of a derivation. Its method is private to kopia: nothing here implements it.
type keyDeriver interface {
	deriveKeyFromPassword(password string, salt []byte, keySize int) ([]byte, error)
}

// kopia has a cheap derivation behind a build tag, which a plain `go test` does not set.
//
//go:linkname keyDerivers github.com/kopia/kopia/internal/crypto.keyDerivers
var keyDerivers map[string]keyDeriver

// Use makes Algorithm cheap for the rest of this process. Its parameter exists only in test programs, so that the
// product cannot call it. Repositories that were created after Use open only in processes that called it.
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
