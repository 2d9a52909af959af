package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Digest gives "sha256:<hex>" of v's canonical JSON: keys sorted, no white space. Two values that mean the same JSON have
// the same digest, whatever the order in which their free-form parts were written. It panics where v has no JSON form,
// which no object of our API lacks.
func Digest(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("digest %T: %v", v, err))
	}
	// Free-form parts (a task's params) keep the order of keys that their author wrote; decoding forgets it.
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		panic(fmt.Sprintf("digest %T: %v", v, err))
	}
	canonical, err := json.Marshal(plain)
	if err != nil {
		panic(fmt.Sprintf("digest %T: %v", v, err))
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}
