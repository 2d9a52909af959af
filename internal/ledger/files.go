package ledger

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const (
	// maxFile is the size in bytes at which a record continues in another file. A document that is larger has a file of
	// its own.
	maxFile = 1 << 20
	// maxDocument is the size in bytes to which a document is cut. Only an object whose YAML is several times as large
	// as its JSON reaches it, because etcd takes 1.5 MiB. A file of the branch has at most 8 MiB.
	maxDocument = 6 << 20
	// separator separates the documents of a file. Inside a document, no line begins with it.
	separator = "---\n"
)

// Files returns the record as files that fit into the branch. Records of this version fit, but an outbox can hold a
// larger one of an earlier version.
func (r Record) Files() ([]Record, error) {
	if len(r.Content) <= maxDocument {
		return []Record{r}, nil
	}
	texts := strings.Split(r.Content, "\n"+separator)
	for i := range texts[:len(texts)-1] {
		texts[i] += "\n"
	}
	return files(r.Path, r.Object, texts)
}

// newRecord puts the documents of one record into its files.
func newRecord(path string, object Object, docs []document) ([]Record, error) {
	texts := make([]string, len(docs))
	for i, d := range docs {
		raw, err := yaml.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("encode record of %s %s/%s: %w", object.Kind, object.Namespace, object.Name, err)
		}
		texts[i] = string(raw)
	}
	return files(path, object, texts)
}

// files spreads documents over as few files as their order and maxFile allow. Sizes before compression decide, so that
// every process makes the same files. Each of several files begins with a comment that says so.
func files(first string, object Object, texts []string) ([]Record, error) {
	var out []Record
	var file strings.Builder
	for i, t := range texts {
		if len(t) > maxDocument {
			var err error
			if t, err = cut(t); err != nil {
				return nil, fmt.Errorf("cut record of %s %s/%s: %w", object.Kind, object.Namespace, object.Name, err)
			}
		}
		if file.Len() > 0 && file.Len()+len(t) > maxFile {
			out = append(out, Record{Content: file.String()})
			file.Reset()
		}
		if file.Len() > 0 {
			file.WriteString(separator)
		}
		file.WriteString(t)
		if i == len(texts)-1 {
			out = append(out, Record{Content: file.String()})
		}
	}
	for i := range out {
		out[i].Path, out[i].Object = first, object
		if len(out) > 1 {
			out[i].Content = fmt.Sprintf("# File %d of %d of the record of %s %s/%s.\n", i+1, len(out), object.Kind,
				object.Namespace, object.Name) + out[i].Content
		}
		if i > 0 {
			out[i].Path, out[i].File = continuation(first, i+1), i+1
		}
	}
	return out, nil
}

// continuation returns the path of the nth file of a record: "shop-0d9ab5f3.2.yaml".
func continuation(first string, n int) string {
	dir, name := path.Split(strings.TrimSuffix(first, ".yaml"))
	tail := fmt.Sprintf(".%d.yaml", n)
	if over := len(name) + len(tail) - 255; over > 0 { // the UID at the end stays
		at := len(name) - len("-01234567")
		name = strings.TrimRight(name[:at-over], "-.") + name[at:]
	}
	return dir + name + tail
}

// cuts are tried one after the other until a document fits: the length of its texts in bytes, and of its lists and maps
// in entries.
var cuts = []struct{ text, entries int }{{4096, 0}, {1024, 0}, {256, 0}, {256, 200}, {256, 20}}

// cut shortens the spec and the status of a document, and says in an annotation what is missing.
func cut(text string) (string, error) {
	for _, c := range cuts {
		raw, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			return "", err
		}
		var doc map[string]any
		if err := utiljson.Unmarshal(raw, &doc); err != nil { // keeps integers
			return "", err
		}
		said := fmt.Sprintf("each text after %d bytes, where … stands", c.text)
		if c.entries > 0 {
			said += fmt.Sprintf("; each list and map after %d entries", c.entries)
		}
		doc["spec"], doc["status"] = shorten(doc["spec"], c.text, c.entries), shorten(doc["status"], c.text, c.entries)
		if meta, ok := doc["metadata"].(map[string]any); ok {
			annotations, _ := meta["annotations"].(map[string]any)
			if annotations == nil {
				annotations = map[string]any{}
			}
			annotations[v1alpha1.AnnotationRecordCut] = said
			meta["annotations"] = annotations
		}
		if raw, err = yaml.Marshal(doc); err != nil {
			return "", err
		}
		if len(raw) <= maxDocument {
			return string(raw), nil
		}
	}
	return "", fmt.Errorf("a document has more than %d bytes", maxDocument)
}

// shorten returns the value with shorter texts, lists and maps. 0 entries are all entries.
func shorten(value any, text, entries int) any {
	switch v := value.(type) {
	case string:
		if len(v) <= text {
			return v
		}
		at := text
		for at > 0 && !utf8.RuneStart(v[at]) {
			at--
		}
		return v[:at] + "…"
	case []any:
		if entries > 0 && len(v) > entries {
			v = v[:entries]
		}
		for i := range v {
			v[i] = shorten(v[i], text, entries)
		}
		return v
	case map[string]any:
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if entries > 0 && i >= entries {
				delete(v, key)
				continue
			}
			v[key] = shorten(v[key], text, entries)
		}
		return v
	default:
		return value
	}
}
