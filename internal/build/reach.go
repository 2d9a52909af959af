package build

import "github.com/cairn-backup/cairn/api/v1alpha1"

// reach is what kustomize gets to do for a kustomization. What is included twice counts twice: bases that include one
// another twice double it with every level, and kustomize can't be stopped once it has begun.
type reach struct {
	objects, patches int64
	nodes, bytes     int64
	// work is the number of comparisons: in every kustomization on the way each object is compared with each and with each
	// patch.
	work int64
}

// ceiling is more than every limit, and small enough for products and sums of it.
const ceiling = 1 << 30

func (r *reach) add(other reach) {
	r.objects = min(r.objects+other.objects, ceiling)
	r.nodes = min(r.nodes+other.nodes, ceiling)
	r.bytes = min(r.bytes+other.bytes, ceiling)
	r.work = min(r.work+other.work, ceiling)
}

// close adds the work of the kustomization itself, when all that it includes is added. Its patches are not seen by those
// that include it.
func (r *reach) close() reach {
	r.work = min(r.work+r.objects*(r.objects+r.patches), ceiling)
	r.patches = 0
	return *r
}

// within reports a kustomization that reaches too much.
func (b *builder) within(r reach, file string) bool {
	l := b.opts.Limits
	for _, limit := range []struct {
		have, most int64
		what       string
	}{
		{r.objects, int64(l.Documents), "objects"},
		{r.nodes, int64(l.AllNodes), "values"},
		{r.bytes, l.Bytes, "bytes"},
		{r.work, int64(l.Work), "comparisons of objects and patches with one another"},
	} {
		if limit.have > limit.most {
			b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "", "kustomization comes to more than %d %s, with each base counted as often as it is included: split it over several PolicySyncs", limit.most, limit.what)
			return false
		}
	}
	return true
}
