package task

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
)

const (
	// packAbove is the size of a Task's JSON, in bytes, from which it is packed: all annotations of a pod have 256 KiB
	// together, and each database that a policy names repeats its probe.
	packAbove = 64 << 10
	// maxTask bounds the JSON of a packed Task, in bytes.
	maxTask = 16 << 20
)

// Encode returns the Task's JSON. That of a large Task is packed: base64 of gzip.
func Encode(t Task) (string, error) {
	t.Version = Version
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encode task: %w", err)
	}
	if len(b) < packAbove {
		return string(b), nil
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(b); err != nil {
		return "", fmt.Errorf("encode task: %w", err)
	}
	if err := zip.Close(); err != nil {
		return "", fmt.Errorf("encode task: %w", err)
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}

// Decode reads what Encode returned for a Task of this version and kind, and checks that it is complete
// and that its names can be names. It ignores
// unknown fields: a newer manager can add some.
func Decode(b []byte, want Kind) (Task, error) {
	b, err := unpack(b)
	if err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	var t Task
	if err := json.Unmarshal(b, &t); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	if t.Version != Version {
		return Task{}, fmt.Errorf("decode task: unsupported version %d, want %d", t.Version, Version)
	}
	if t.Kind != want {
		return Task{}, fmt.Errorf("decode task: kind %q, want %q", t.Kind, want)
	}
	if err := t.complete(); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	if err := t.checkNames(); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	return t, nil
}

// unpack returns the JSON of a packed Task, and any other text unchanged.
func unpack(b []byte) ([]byte, error) {
	packed, err := base64.StdEncoding.DecodeString(string(b))
	if err != nil || len(packed) == 0 {
		return b, nil // JSON of an object is no base64
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(zip, maxTask+1))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if len(out) > maxTask {
		return nil, fmt.Errorf("unpack: more than %d bytes", maxTask)
	}
	return out, nil
}
