package main

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

func TestCrowded(t *testing.T) {
	g := NewWithT(t)
	filesOf := func(dir string, n int) []string {
		out := []string{dir + "/a_test.go", dir + "/page.md"}
		for i := range n {
			out = append(out, fmt.Sprintf("%s/f%d.go", dir, i))
		}
		return out
	}
	var files []string
	for dir, n := range map[string]int{
		"internal/full": 18, "internal/crowded": 19, "internal/crowded/below": 18, "cmd": 20,
		"api/v1alpha1": 30, "internal/repository/kopia": 30, "internal/repository/kopia/below": 19,
	} {
		files = append(files, filesOf(dir, n)...)
	}
	g.Expect(crowded(files)).To(Equal([]string{
		"cmd has 20", "internal/crowded has 19", "internal/repository/kopia/below has 19",
	}))
}
