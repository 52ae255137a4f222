//go:build !race

package cage

const raceBuild = false
