package inventory

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// objects returns objects with names as platforms make them: long, with a hash of eight digits.
func objects(n int, release string) []v1alpha1.ResourceRef {
	random := rand.New(rand.NewPCG(1, uint64(len(release))))
	out := make([]v1alpha1.ResourceRef, n)
	for i := range out {
		out[i] = v1alpha1.ResourceRef{ID: fmt.Sprintf(
			"customer-%05d-production_%s-postgresql-primary-backup-nightly-%08x_%s_BackupConfiguration", i/4, release,
			random.Uint32(), v1alpha1.Group), Version: "v1alpha1"}
	}
	slices.SortFunc(out, func(a, b v1alpha1.ResourceRef) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func TestPack(t *testing.T) {
	for name, n := range map[string]int{"none": 0, "one": 1, "listed": plain, "packed": plain + 1, "the limit": 20000} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			want := objects(n, "blue")
			for i := range want {
				want[i].Consent = []string{"", v1alpha1.ConsentNeeded, v1alpha1.ConsentGiven}[i%3]
			}
			in, err := Pack(want)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(in.Entries).NotTo(BeNil())
			g.Expect(len(in.Packed) > 0).To(Equal(n > plain))
			got, err := Entries(in)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(slices.Equal(got, want)).To(BeTrue())
		})
	}
	t.Run("all are renamed", func(t *testing.T) {
		g := NewWithT(t)
		in, err := Pack(append(objects(20000, "blue"), objects(20000, "green")...))
		g.Expect(err).NotTo(HaveOccurred())
		t.Logf("%d bytes", len(in.Packed))
	})
	t.Run("nothing", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(Entries(nil)).To(BeEmpty())
	})
	t.Run("too large", func(t *testing.T) {
		g := NewWithT(t)
		random, out := rand.New(rand.NewPCG(1, 2)), make([]v1alpha1.ResourceRef, 20000)
		for i := range out {
			name := make([]byte, 250)
			for j := range name {
				name[j] = byte('a' + random.IntN(26))
			}
			out[i] = v1alpha1.ResourceRef{ID: "shop_" + string(name) + "_g_K", Version: "v1"}
		}
		_, err := Pack(out)
		g.Expect(err).To(MatchError(ErrTooLarge))
	})
}

// After a downgrade, an earlier version reads what is packed: "<id> <version>" in each line.
func TestEarlierVersionsCanReadWhatIsPacked(t *testing.T) {
	g := NewWithT(t)
	want := objects(plain+1, "blue")
	want[7].Consent = v1alpha1.ConsentNeeded
	in, err := Pack(want)
	g.Expect(err).NotTo(HaveOccurred())
	z, err := gzip.NewReader(bytes.NewReader(in.Packed))
	g.Expect(err).NotTo(HaveOccurred())
	raw, err := io.ReadAll(z)
	g.Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(raw)) {
		g.Expect(line).To(HaveSuffix(" v1alpha1\n"))
	}
}

// An earlier version wrote the consent behind the version.
func TestWhatEarlierVersionsPackedCanBeRead(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := io.WriteString(z, "a_b_g_K v1 Given\na_c_g_K v1\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(z.Close()).To(Succeed())
	got, err := Entries(&v1alpha1.ResourceInventory{Packed: out.Bytes(), Count: 2})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal([]v1alpha1.ResourceRef{
		{ID: "a_b_g_K", Version: "v1", Consent: v1alpha1.ConsentGiven}, {ID: "a_c_g_K", Version: "v1"},
	}))
}

// What can't be read is not empty.
func TestADamagedInventoryIsNotEmpty(t *testing.T) {
	g := NewWithT(t)
	good, err := Pack(objects(2000, "blue"))
	g.Expect(err).NotTo(HaveOccurred())
	for name, damage := range map[string]func(*v1alpha1.ResourceInventory){
		"cut off":       func(in *v1alpha1.ResourceInventory) { in.Packed = in.Packed[:len(in.Packed)/2] },
		"not packed":    func(in *v1alpha1.ResourceInventory) { in.Packed = []byte("x") },
		"missing":       func(in *v1alpha1.ResourceInventory) { in.Packed = nil },
		"another count": func(in *v1alpha1.ResourceInventory) { in.Count++ },
		"other marks": func(in *v1alpha1.ResourceInventory) {
			marked := objects(2004, "blue")
			marked[0].Consent = v1alpha1.ConsentNeeded
			of, err := Pack(marked)
			g.Expect(err).NotTo(HaveOccurred())
			header := 10 + 2 + 2004/4 // the fixed part, the size and the marks
			in.Packed = append(of.Packed[:header:header], in.Packed[10:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := good.DeepCopy()
			damage(in)
			_, err := Entries(in)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}
