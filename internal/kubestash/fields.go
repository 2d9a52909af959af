package kubestash

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// fieldsText has one field per line: the kind, or the type that several kinds share, then the path and type of the
// field.
//
//go:embed fields.txt
var fieldsText string

// Field is a field of a kind of KubeStash.
type Field struct {
	// Owner is the kind or the shared type that has the field; Own is its path there.
	Owner, Own string
	// Path such as spec.sessions[].name. <key> stands for the keys of a map.
	Path string
	// Type is string, integer, boolean, time, object, free object, map[…], []…, or the name of a Kubernetes type, whose
	// fields are not listed.
	Type string
	// Difference describes what Cairn does differently; nil means that Cairn has the field with the same meaning.
	Difference *Difference
}

// Kinds lists the kinds of KubeStash that Cairn accepts.
var Kinds = []string{
	"BackupStorage", "Repository", "Snapshot", "RetentionPolicy", "BackupConfiguration", "BackupSession",
	"RestoreSession",
	"HookTemplate", "Function", "Addon",
}

// Types returns the types that several fields share. The caller must not change the list.
func Types() []string { return types() }

var types = sync.OnceValue(func() []string {
	var out []string
	for _, l := range lines() {
		if !slices.Contains(Kinds, l.owner) && !slices.Contains(out, l.owner) {
			out = append(out, l.owner)
		}
	}
	return out
})

// OwnFields lists the fields of a kind or of a shared type. It does not list the fields of shared types, nor those
// below a field that differs as a whole.
func OwnFields(owner string) []Field {
	var out []Field
	for _, l := range lines() {
		if l.owner == owner && !covered(out, l.path) {
			out = append(out, Field{
				Owner: owner, Own: l.path, Path: l.path, Type: l.kind,
				Difference: difference(owner, l.path),
			})
		}
	}
	return out
}

// Fields lists the fields of a kind, in alphabetical order at each level, with the fields of shared types wherever the
// type occurs. It leaves out the fields below a field that differs as a whole. The caller must not change the list.
func Fields(kind string) []Field { return byKind()[kind] }

// byKind is computed only once: a file can have very many fields that need advice.
var byKind = sync.OnceValue(func() map[string][]Field {
	out := map[string][]Field{}
	for _, kind := range Kinds {
		out[kind] = expand(kind, "", nil)
	}
	return out
})

// Advice explains what to do about a field of a manifest that Cairn does not have: the sentence of the difference of
// the field or of a field around it, else "". The path can have indices or not.
func Advice(kind, path string) string {
	path = withoutIndices(path)
	for _, f := range Fields(kind) {
		if d := f.Difference; d != nil && (path == f.Path || strings.HasPrefix(path, f.Path+".") ||
			strings.HasPrefix(path, f.Path+"[]")) {
			return d.Says
		}
	}
	return ""
}

type line struct{ owner, path, kind string }

// lines returns the lines of fields.txt.
var lines = sync.OnceValue(func() []line {
	var out []line
	for text := range strings.Lines(fieldsText) {
		part := strings.SplitN(strings.TrimSpace(text), " ", 3)
		out = append(out, line{owner: part[0], path: part[1], kind: part[2]})
	}
	return out
})

// expand lists the fields of owner below prefix. It stops at a type that contains itself.
func expand(owner, prefix string, around []string) []Field {
	var out []Field
	for _, f := range OwnFields(owner) {
		element, list := strings.CutPrefix(f.Type, "[]")
		f.Path = prefix + f.Path
		if !slices.Contains(Types(), element) || slices.Contains(around, element) {
			out = append(out, f)
			continue
		}
		f.Type = strings.Replace(f.Type, element, "object", 1)
		out = append(out, f)
		if f.Difference != nil {
			continue
		}
		below := f.Path + "."
		if list {
			below = f.Path + "[]."
		}
		out = append(out, expand(element, below, append(slices.Clone(around), element))...)
	}
	return out
}

// covered reports whether a field around path differs as a whole.
func covered(fields []Field, path string) bool {
	return slices.ContainsFunc(fields, func(f Field) bool {
		return f.Difference != nil && (strings.HasPrefix(path, f.Path+".") || strings.HasPrefix(path, f.Path+"[]"))
	})
}

// withoutIndices turns a[3].b into a[].b.
func withoutIndices(path string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(path, "[")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		_, after, _ := strings.Cut(rest, "]")
		out.WriteString("[]")
		path = after
	}
}
