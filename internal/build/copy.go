package build

import "github.com/cairn-backup/cairn/api/v1alpha1"

// copiedFile is a file that kustomize will see.
type copiedFile struct {
	docs     []document
	isYAML   bool // and docs hold its content
	size     int64
	valid    bool
	resource bool
}

// cost returns the size of a file of resources.
func (f *copiedFile) cost() kustomizeCost {
	r := kustomizeCost{bytes: f.size}
	for _, d := range f.docs {
		r.nodes += int64(d.nodes)
		r.objects++
		if items, _ := find(d.node, "items"); items != nil { // kustomize splits lists into their items
			r.objects += int64(len(items.Content))
		}
	}
	return r
}

// copy reads a file into memory once, and parses it if it is YAML. A file can be a patch in one place and a resource
// in another.
func (c *collector) copy(name string, isYAML bool) *copiedFile {
	if f := c.files[name]; f != nil && (f.isYAML || !isYAML) {
		return f
	}
	f := &copiedFile{isYAML: isYAML}
	c.files[name] = f
	data, ok := c.b.read(name, isYAML)
	if !ok {
		return f
	}
	if err := c.fs.WriteFile(inMemory(name), data); err != nil {
		c.b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "", "copy file into memory: %s", err)
		return f
	}
	f.size, f.valid = int64(len(data)), true
	if isYAML {
		before := c.b.mistakes()
		f.docs = c.b.parse(name, data)
		c.check(f.docs)
		f.valid = c.b.mistakes() == before
	}
	return f
}

// check reports duplicate keys, of which kustomize would take the last.
func (c *collector) check(docs []document) {
	for _, d := range docs {
		(&converter{b: c.b, doc: d}).convert(d.node, "")
	}
}
