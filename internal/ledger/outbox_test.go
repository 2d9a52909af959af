package ledger

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/validation"
)

func records(t testing.TB, n int) []Record {
	t.Helper()
	session, snapshots := run()
	out := make([]Record, n)
	for i := range out {
		session.Name = fmt.Sprintf("shop-hourly-%d", i)
		r, err := one(BackupRecord("production", session, snapshots))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = r
	}
	return out
}

func TestPack(t *testing.T) {
	g := NewWithT(t)
	all := records(t, 30)
	parcels, err := Pack("ledger", all)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parcels).To(HaveLen(1))
	g.Expect(parcels[0].Name).To(MatchRegexp(`^ledger-outbox-[0-9a-f]{16}$`))
	g.Expect(parcels[0].Records).To(Equal(30))
	back, err := Unpack(parcels[0].Data)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(back).To(ConsistOf(all))

	again := append(all[10:], all[:10]...)
	again = append(again, all[3])
	same, err := Pack("ledger", again)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(same).To(Equal(parcels), "neither order nor repetition matters")

	fewer, err := Pack("ledger", all[:29])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(fewer[0].Name).NotTo(Equal(parcels[0].Name))

	none, err := Pack("ledger", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(none).To(BeEmpty())
}

func TestPackSplits(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(1, 2))
	var all []Record
	for i := range 10 {
		var noise strings.Builder
		for range 300 << 10 {
			noise.WriteByte(byte('!' + random.IntN(90)))
		}
		all = append(all, Record{Path: fmt.Sprintf("records/%d", i), Content: noise.String()})
	}
	parcels, err := Pack("ledger", all)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(parcels)).To(BeNumerically(">", 1))
	var back []Record
	for _, p := range parcels {
		g.Expect(len(p.Data)).To(BeNumerically("<=", parcelSize))
		some, err := Unpack(p.Data)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(some).To(HaveLen(p.Records))
		back = append(back, some...)
	}
	g.Expect(back).To(Equal(all))
}

func TestPackNames(t *testing.T) {
	g := NewWithT(t)
	parcels, err := Pack(strings.Repeat("a.", 126)+"a", records(t, 1))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(validation.IsDNS1123Subdomain(parcels[0].Name)).To(BeEmpty())
}

func TestUnpackRefuses(t *testing.T) {
	var future, garbage strings.Builder
	forged := func(path string) string {
		parcels, err := Pack("ledger", []Record{{Path: path, Content: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		return string(parcels[0].Data)
	}
	if compress(&future, []byte(`{"version":2}`)) != nil || compress(&garbage, []byte("x")) != nil {
		t.Fatal("cannot compress")
	}
	for name, data := range map[string]string{
		"what is not gzip": "x", "what is not JSON": garbage.String(), "a version of the future": future.String(),
		"what was cut off":        future.String()[:15],
		"the claim of the folder": forged("cluster.yaml"), "the page": forged("STATUS.md"),
		"a file elsewhere": forged("records/../../x"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Unpack([]byte(data))
			NewWithT(t).Expect(err).To(MatchError(ErrParcel))
		})
	}
}

func BenchmarkPack(b *testing.B) {
	all := records(b, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Pack("ledger", all); err != nil {
			b.Fatal(err)
		}
	}
}
