/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * static_program.c - a program without a dynamic linker, into which nothing can be preloaded.
 */
int main(void)
{
	return 0;
}
