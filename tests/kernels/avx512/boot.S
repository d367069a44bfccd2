# The ROM of the emulated machine: from the reset vector to 64-bit mode with AVX-512 switched on.
# Everything runs in ring 0 with the first 4 GiB mapped one to one.
        .set    BASE, 0xffff0000        # where the processor sees this ROM
        .set    PML4, 0x1000
        .set    PDPT, 0x2000
        .set    USER_STACK, 0x4000      # the program's stack pointer during a system call
        .set    STACK, 0x80000

        .text
rom:
        .code16
start16:
        cli
        lgdtl   %cs:gdtr - rom
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $0x18, $start32

        .code32
start32:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $PML4, %edi             # memory starts with anything in it
        mov     $0x800, %ecx
        xor     %eax, %eax
        rep stosl
        movl    $PDPT + 3, PML4
        movl    $0x00000083, PDPT       # four pages of 1 GiB
        movl    $0x40000083, PDPT + 8
        movl    $0x80000083, PDPT + 16
        movl    $0xc0000083, PDPT + 24
        mov     $PML4, %eax
        mov     %eax, %cr3
        mov     $0x40620, %eax          # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx       # EFER: system calls, long mode
        mov     $0x101, %eax
        xor     %edx, %edx
        wrmsr
        mov     $0x80000023, %eax       # PG, NE, MP, PE
        mov     %eax, %cr0
        ljmp    $0x08, $start64

        .code64
start64:
        mov     $STACK, %esp
        xor     %ecx, %ecx
        mov     $0xe7, %eax             # x87, SSE, AVX, AVX-512
        xor     %edx, %edx
        xsetbv
        mov     $0xc0000081, %ecx       # STAR: the segments of a system call
        xor     %eax, %eax
        mov     $0x08, %edx
        wrmsr
        mov     $0xc0000082, %ecx       # LSTAR: its address
        mov     $system_call, %eax
        xor     %edx, %edx
        wrmsr
        mov     $0xc0000084, %ecx       # SFMASK
        xor     %eax, %eax
        wrmsr
        call    load
        mov     %rax, %rsp              # rax: its stack, rdx: its entry
        mov     %rdx, %rcx
        xor     %edx, %edx
        jmp     *%rcx

system_call:
        mov     %rsp, USER_STACK
        mov     $STACK, %esp
        push    %rcx
        push    %rdi
        push    %rsi
        push    %rdx
        push    %r8
        push    %r9
        push    %r10
        sub     $8, %rsp
        mov     %rdx, %rcx
        mov     %rsi, %rdx
        mov     %rdi, %rsi
        mov     %rax, %rdi
        call    serve
        add     $8, %rsp
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdx
        pop     %rsi
        pop     %rdi
        pop     %rcx
        mov     USER_STACK, %rsp
        jmp     *%rcx

        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      # 64-bit code
        .quad   0x00cf93000000ffff      # data
        .quad   0x00cf9b000000ffff      # 32-bit code
gdtr:   .word   gdtr - gdt - 1
        .long   gdt

        .section .reset, "ax"           # at BASE + 0xfff0
        .code16
        jmp     start16
        .balign 16
