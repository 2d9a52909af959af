package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Digest returns "sha256:<hex>" of v's canonical JSON: keys sorted, no white space. Values with equal JSON have equal
// digests, whatever the order in which their free-form parts were written. It panics if v has no JSON form; every
// object of our API has one.
func Digest(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("digest %T: %v", v, err))
	}
	// Free-form parts, such as a task's params, keep the key order of their author; decoding them drops it.
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
