/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * static_program.c - a program without a dynamic linker, in front of which nothing can
 * be loaded.
 */
int main(void)
{
	return 0;
}
