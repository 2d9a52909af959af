package remote_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

func TestSpaceOfAnSFTPServer(t *testing.T) {
	t.Parallel()
	g, o := NewWithT(t), enginetest.StartSFTP(t)
	tree, err := remote.Open(repository.Storage{SFTP: &o})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(tree.Close()).To(Succeed()) }()
	size, free, err := tree.(remote.Measured).Space(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(free).To(And(BeNumerically(">", 0), BeNumerically("<=", size)))
}
