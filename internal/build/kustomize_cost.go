package build

import "github.com/cairn-backup/cairn/api/v1alpha1"

// kustomizeCost is what kustomize has to do for a kustomization. Anything that is included twice counts twice: bases
// that include another base twice double it with every level, and kustomize can't be stopped once it runs.
type kustomizeCost struct {
	objects, patches int64
	nodes, bytes     int64
	// work is the number of comparisons. In every kustomization on the way, each object is compared with each object
	// and with each patch.
	work int64
}

// ceiling is larger than every limit, and small enough for products and sums.
const ceiling = 1 << 30

func (r *kustomizeCost) add(other kustomizeCost) {
	r.objects = min(r.objects+other.objects, ceiling)
	r.nodes = min(r.nodes+other.nodes, ceiling)
	r.bytes = min(r.bytes+other.bytes, ceiling)
	r.work = min(r.work+other.work, ceiling)
}

// close adds the work of the kustomization itself, after everything that it includes was added. Kustomizations that
// include it do not see its patches.
func (r *kustomizeCost) close() kustomizeCost {
	r.work = min(r.work+r.objects*(r.objects+r.patches), ceiling)
	r.patches = 0
	return *r
}

// within reports a kustomization that costs too much, and returns whether it stays within the limits.
func (b *builder) within(r kustomizeCost, file string) bool {
	l := b.opts.Limits
	for _, limit := range []struct {
		have, most int64
		what       string
	}{
		{r.objects, int64(l.Documents), "objects"},
		{r.nodes, int64(min(l.AllNodes, l.Kustomize)), "values"},
		{r.bytes, l.Bytes, "bytes"},
		{r.work, int64(l.Work), "comparisons of objects and patches with one another"},
	} {
		if limit.have > limit.most {
			b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "",
				"kustomization needs more than %d %s, counting each base as "+
					"often as it is included: split it over several PolicySyncs", limit.most, limit.what)
			return false
		}
	}
	return true
}
