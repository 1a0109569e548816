module github.com/cdictl/cdictl/test/cluster/tools/images

go 1.26.0
